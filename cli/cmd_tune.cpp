// nearcell tune INDEX: finds the cheapest probes and re-rank depth that reach a recall, and saves
// them into the index as its defaults.
#include <CLI/CLI.hpp>
#include <memory>

#include "commands.h"
#include "device_option.h"
#include "files.h"
#include "interrupt.h"
#include "tuning.h"

namespace nearcell::cli {
namespace {

struct TuneCommandOptions {
    std::string index, queries, truth;
    double recall = 0.95;
    size_t k = 10;
    DeviceOption device;
};

void tune_command(const TuneCommandOptions& options, Session& session) {
    check_recall_target(options.recall);
    check_output(options.index);
    options.device.check();
    const auto index = CellIndex::open(options.index);
    options.device.move(*index);
    const VectorData queries = read_queries(options.queries, session.threads());
    check_dim(queries.view(), index->dim(), options.queries);
    const IdData truth = read_truth(options.truth, queries.rows, options.k);
    session.fact("index", options.index);
    session.fact("device", index->device());
    session.fact("queries", queries.rows);
    session.fact("k", options.k);
    const Stopwatch watch;
    tune_and_report(*index, queries.view(), truth, options.recall, options.k, session);
    check_interrupted();
    index->save(options.index);
    session.fact_seconds("seconds", watch.seconds());
}

}  // namespace

void add_tune(CLI::App& app, Session& session) {
    CLI::App& command = *app.add_subcommand("tune", "choose probes and re-rank depth for a recall");
    auto options = std::make_shared<TuneCommandOptions>();
    command.add_option("INDEX", options->index, "index; its defaults are changed")->required();
    command.add_option("--queries", options->queries, "query vectors")->required();
    command.add_option("--truth", options->truth, "their true neighbours")->required();
    command.add_option("--recall", options->recall, "the recall to reach, in (0, 1]")->required();
    command.add_option("-n,--neighbors", options->k, "neighbours that recall counts")
        ->capture_default_str();
    options->device.add_index_options(command);
    session.add_command(command, [options, &session] { tune_command(*options, session); });
}

}  // namespace nearcell::cli
