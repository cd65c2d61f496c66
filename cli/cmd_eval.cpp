// nearcell eval INDEX: recall and speed against true neighbours, for the index's defaults, a given
// setting, or a sweep.
#include <CLI/CLI.hpp>
#include <memory>

#include "commands.h"
#include "device_option.h"
#include "files.h"
#include "number_text.h"
#include "picture_file.h"
#include "plot.h"
#include "recall_curve.h"
#include "session.h"

namespace nearcell::cli {
namespace {

struct EvalOptions {
    std::string index, queries, truth, plot;
    size_t k = 10, probes = 0, rerank = 0;
    bool sweep = false, mmap = false;
    DeviceOption device;
};

Json points_json(const std::vector<CurvePoint>& points, const std::vector<size_t>& depths) {
    Json list = Json::array();
    for (const CurvePoint& point : points) {
        Json entry = {{"probes", point.probes}, {"rerank", point.rerank}};
        for (size_t i = 0; i < depths.size(); ++i) {
            entry["recall@" + std::to_string(depths[i])] = point.recalls[i];
        }
        entry["queries_per_second"] = point.queries_per_second;
        entry["scanned_per_query"] = point.scanned_per_query;
        entry["pareto"] = point.pareto;
        list.push_back(std::move(entry));
    }
    return list;
}

std::string points_text(const std::vector<CurvePoint>& points, const std::vector<size_t>& depths) {
    const bool many = points.size() > 1;
    std::vector<Table::Column> columns = {{"probes"}, {"rerank"}};
    for (size_t depth : depths)
        columns.push_back({"recall@" + std::to_string(depth)});
    columns.push_back({"queries/s"});
    columns.push_back({"scanned"});
    columns.push_back({many ? "best" : "", Table::Align::Left});
    Table table(columns);
    for (const CurvePoint& point : points) {
        std::vector<std::string> cells = {grouped_text(point.probes), grouped_text(point.rerank)};
        for (double recall : point.recalls)
            cells.push_back(fixed_text(recall, 4));
        cells.push_back(count_text(point.queries_per_second));
        cells.push_back(count_text(point.scanned_per_query));
        cells.push_back(many && point.pareto ? "*" : "");
        table.add_row(std::move(cells));
    }
    return table.text();
}

void eval(const EvalOptions& options, Session& session) {
    if (!options.plot.empty()) check_picture(options.plot);
    check_different({options.plot}, {options.index, options.queries, options.truth});
    options.device.check();
    const auto index = CellIndex::open(options.index, options.mmap);
    options.device.move(*index);
    const VectorData queries = read_queries(options.queries, session.threads());
    check_dim(queries.view(), index->dim(), options.queries);
    const IdData truth = read_truth(options.truth, queries.rows, options.k);
    const RecallQuestion question{*index,
                                  queries.view(),
                                  {truth.values.data(), truth.rows, truth.cols},
                                  options.k,
                                  recall_depths(options.k),
                                  session.threads(),
                                  session.progress()};
    const bool swept = options.sweep || !options.plot.empty();
    const std::vector<CurvePoint> points =
        swept ? sweep(question)
              : std::vector<CurvePoint>{measure(question, options.probes, options.rerank)};
    session.fact("index", options.index);
    session.fact("device", index->device());
    session.fact("spec", index->spec());
    session.fact("rows", index->size());
    session.fact("queries", queries.rows);
    session.fact("k", options.k);
    session.detail("points", points_json(points, question.depths));
    session.text(points_text(points, question.depths));
    if (options.plot.empty()) return;
    const std::string title = index->spec() + ", " + grouped_text(index->size()) + " vectors";
    save_picture(options.plot, draw_plot(title, points, options.k));
    session.fact("plot", options.plot);
}

}  // namespace

void add_eval(CLI::App& app, Session& session) {
    CLI::App& command = *app.add_subcommand("eval", "recall and speed against true neighbours");
    auto options = std::make_shared<EvalOptions>();
    command.add_option("INDEX", options->index, "index made by build")->required();
    command.add_option("--queries", options->queries, "vectors (HDF5: the data set test)")
        ->required();
    command.add_option("--truth", options->truth, "ids (HDF5: the data set neighbors)")->required();
    command.add_option("-n,--neighbors", options->k, "neighbours a query")->capture_default_str();
    auto* probes = command.add_option("--probes", options->probes, "cells to look into");
    auto* rerank = command.add_option("--rerank", options->rerank, "candidates to score again");
    command.add_flag("--sweep", options->sweep, "many settings; best ones are marked *")
        ->excludes(probes)
        ->excludes(rerank);
    command.add_option("--plot", options->plot, "a picture of the sweep: .svg, or .png")
        ->excludes(probes)
        ->excludes(rerank);
    command.add_flag("--mmap", options->mmap, "leave the codes on disk");
    options->device.add_index_options(command);
    session.add_command(command, [options, &session] { eval(*options, session); });
}

}  // namespace nearcell::cli
