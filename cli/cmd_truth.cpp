// nearcell truth BASE QUERIES: exact neighbours by a full scan, to measure recall against.
#include <CLI/CLI.hpp>
#include <memory>
#include <numeric>

#include <nearcell/storage/vector_file.h>

#include "commands.h"
#include "device_option.h"
#include "files.h"
#include "interrupt.h"
#include "neighbor_output.h"
#include "number_text.h"
#include "session.h"

namespace nearcell::cli {
namespace {

struct TruthOptions {
    std::string base, queries, metric = "l2";
    size_t k = 100;
    DeviceOption device;
    NeighborOutput output;
};

void truth(const TruthOptions& options, Session& session) {
    options.output.check(
        {with_data_set(options.base, "train"), with_data_set(options.queries, "test")});
    options.device.check();
    const VectorData queries = read_queries(options.queries, session.threads());
    const VectorData base = read_finite(options.base, session.threads());
    check_dim(queries.view(), base.cols, options.queries);
    const Stopwatch watch;
    const SearchResult result = options.device.exact_search(
        base.view(), queries.view(), metric_from_option(options.metric), options.k, session);
    const double seconds = watch.seconds();
    check_interrupted();
    options.output.write(result);
    const size_t missing = queries.rows * options.k -
                           std::accumulate(result.counts.begin(), result.counts.end(), size_t{0});
    session.fact("base_rows", base.rows);
    session.fact("queries", queries.rows);
    session.fact("dim", base.cols);
    session.fact("metric", options.metric);
    session.fact("device", options.device.resolved());
    session.fact("k", options.k);
    session.fact("missing", missing);
    session.fact_seconds("seconds", seconds);
    const double rate = static_cast<double>(queries.rows) / seconds;
    session.fact("queries_per_second", rate, count_text(rate));
    session.fact("output", options.output.ids);
}

}  // namespace

void add_truth(CLI::App& app, Session& session) {
    CLI::App& command = *app.add_subcommand("truth", "exact neighbours by a full scan");
    auto options = std::make_shared<TruthOptions>();
    command.add_option("BASE", options->base, "vectors to search in")->required();
    command.add_option("QUERIES", options->queries, "vectors to search for")->required();
    command.add_option("-n,--neighbors", options->k, "neighbours a query")->capture_default_str();
    add_metric_option(command, options->metric);
    options->device.add_option(command);
    options->output.add_options(command);
    session.add_command(command, [options, &session] { truth(*options, session); });
}

}  // namespace nearcell::cli
