// nearcell build BASE: trains an index on vectors, adds them, chooses its spec and tunes it when
// asked, and saves it.
#include <CLI/CLI.hpp>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>

#include <nearcell/index/factory.h>
#include <nearcell/index/held_out.h>

#include "commands.h"
#include "device_option.h"
#include "files.h"
#include "interrupt.h"
#include "number_text.h"
#include "tuning.h"

namespace nearcell::cli {
namespace {

struct BuildOptions {
    std::string base, spec, out, metric = "l2";
    uint64_t seed = 1234;
    size_t train_rows = 0;  // 0: all
    bool choose = false;    // the spec is not given
    std::optional<double> tune_recall;
    double tune_seconds = 60, max_bytes = 0;
    std::string queries, truth;
    size_t k = 10;
    DeviceOption device;
};

struct TuneInput {
    VectorData queries;
    IdData truth;
};

// Read before the work, so that a wrong file is reported at once.
TuneInput read_tune_input(const BuildOptions& options, size_t dim, int threads) {
    TuneInput input;
    if (options.queries.empty()) return input;
    input.queries = read_queries(options.queries, threads);
    check_dim(input.queries.view(), dim, options.queries);
    if (options.truth.empty()) return input;
    input.truth = read_truth(options.truth, input.queries.rows, options.k);
    return input;
}

// Without queries some rows of the base are, and leave it until the index is tuned.
HeldOut hold_out_queries(VectorData& base, VectorData& queries, uint64_t seed) {
    HeldOut parts = hold_out(base.rows, seed);
    queries = copy_rows(base.view(), parts.queries);
    base = copy_rows(base.view(), parts.rest);
    return parts;
}

std::string choose(const VectorData& base, const VectorData& queries, const BuildOptions& options,
                   Session& session) {
    ChooseSpecOptions wanted;
    wanted.metric = metric_from_option(options.metric);
    wanted.recall = *options.tune_recall;
    wanted.k = options.k;
    wanted.seconds = options.tune_seconds;
    wanted.max_bytes = options.max_bytes;
    wanted.seed = options.seed;
    wanted.queries = queries.view();
    return choose_and_report(base.view(), wanted, session);
}

// `ids`: of the rows of base, where they are not the row numbers.
IdData true_neighbors(const VectorData& base, const VectorData& queries,
                      const std::vector<int64_t>& ids, const BuildOptions& options,
                      Session& session) {
    SearchResult found = options.device.exact_search(
        base.view(), queries.view(), metric_from_option(options.metric), options.k, session);
    for (int64_t& id : found.ids)
        if (!ids.empty() && id >= 0) id = ids[static_cast<size_t>(id)];
    return {std::move(found.ids), queries.rows, options.k};
}

TrainReport train(CellIndex& index, const VectorData& base, const BuildOptions& options,
                  const CallOptions& call) {
    if (options.train_rows == 0 || options.train_rows >= base.rows) {
        return index.train(base.view(), call);
    }
    std::vector<int64_t> rows(base.rows);
    std::iota(rows.begin(), rows.end(), 0);
    rows = sample_rows(rows, options.train_rows, options.seed);
    return index.train(copy_rows(base.view(), rows).view(), call);
}

void describe(const CellIndex& index, const TrainReport& report, Session& session) {
    const IndexStats stats = index.stats();
    session.fact("spec", stats.spec);
    session.fact("metric", std::string(metric_name(index.metric())));
    session.fact("device", index.device());
    session.fact("dim", index.dim());
    session.fact("cells", stats.cells);
    session.fact("imbalance", stats.imbalance, fixed_text(stats.imbalance, 2));
    session.fact("bytes_per_vector", stats.bytes_per_vector, fixed_text(stats.bytes_per_vector, 1));
    session.fact("train_rows", report.rows_given);
    session.fact("rows_used_for_cells", report.rows_used_for_cells);
    session.fact("rows_used_for_codec", report.rows_used_for_codec);
}

void build(const BuildOptions& options, Session& session) {
    check_output(options.out);
    check_different({options.out}, {options.base, options.queries, options.truth});
    const size_t dim = vector_file_info(options.base).cols;
    const IndexOptions wanted{dim, metric_from_option(options.metric), options.seed};
    options.device.check();
    check(!options.choose || options.device.resolved() == "cpu", StatusCode::Unsupported,
          "--device ", options.device.name,
          " needs a spec (-k): one is chosen by what searches take on the CPU");
    if (!options.choose) parse_spec(options.spec, wanted);
    if (options.tune_recall) {
        check_recall_target(*options.tune_recall);
        check(options.k >= 1, StatusCode::InvalidArgument,
              "--neighbors 0: tune for at least one neighbour");
    }
    auto [queries, truth] = read_tune_input(options, dim, session.threads());
    const CallOptions call{session.threads(), session.progress()};

    Stopwatch watch;
    VectorData base = read_finite(options.base, session.threads());
    const double read_seconds = watch.lap();
    check_interrupted();
    HeldOut parts;
    if (options.tune_recall && options.queries.empty()) {
        parts = hold_out_queries(base, queries, options.seed);
    }
    watch.lap();
    const auto index =
        make_index(options.choose ? choose(base, queries, options, session) : options.spec, wanted);
    options.device.move(*index);
    const double choose_seconds = watch.lap();
    const TrainReport report = train(*index, base, options, call);
    const double train_seconds = watch.lap();
    index->add(base.view(), parts.rest, call);
    const double add_seconds = watch.lap();
    describe(*index, report, session);
    if (options.tune_recall) {
        if (options.truth.empty())
            truth = true_neighbors(base, queries, parts.rest, options, session);
        tune_and_report(*index, queries.view(), truth, *options.tune_recall, options.k, session);
        session.fact("held_out_queries", parts.queries.size());
    }
    if (!parts.queries.empty()) index->add(queries.view(), parts.queries, call);
    session.fact("rows", index->size());
    check_interrupted();
    watch.lap();
    index->save(options.out);
    const double save_seconds = watch.lap();

    const uint64_t bytes = file_bytes(options.out);
    session.fact_seconds("read_seconds", read_seconds);
    if (options.choose) session.fact_seconds("choose_seconds", choose_seconds);
    session.fact_seconds("train_seconds", train_seconds);
    session.fact_seconds("add_seconds", add_seconds);
    session.fact_seconds("save_seconds", save_seconds);
    session.fact("output", options.out);
    session.fact("output_bytes", bytes, bytes_text(static_cast<double>(bytes)));
}

}  // namespace

void add_build(CLI::App& app, Session& session) {
    CLI::App& command = *app.add_subcommand("build", "make an index of vectors");
    auto options = std::make_shared<BuildOptions>();
    command.add_option("BASE", options->base, "vectors (HDF5: the data set train)")->required();
    CLI::Option_group& which = *command.add_option_group("Index", "one of these or both");
    which.require_option(1, 0);
    auto* spec = which.add_option("-k,--spec", options->spec,
                                  "factory string, such as IVF1024,PQ16,RFlat; else it is chosen");
    auto* recall =
        which.add_option("--tune-recall", options->tune_recall, "tune to this recall, in (0, 1]");
    command.add_option("-o,--output", options->out, "index file")->required();
    add_metric_option(command, options->metric);
    command.add_option("--seed", options->seed, "seed of training")->capture_default_str();
    command
        .add_option("--train-rows", options->train_rows, "train on so many sampled rows; 0 = all")
        ->capture_default_str();
    auto* queries = command
                        .add_option("--queries", options->queries,
                                    "query vectors to tune with; else some rows of BASE")
                        ->needs(recall);
    command.add_option("--truth", options->truth, "their true neighbours; else they are computed")
        ->needs(queries);
    command.add_option("--tune-seconds", options->tune_seconds, "time to choose a spec in")
        ->capture_default_str()
        ->excludes(spec);
    command.add_option("--max-bytes", options->max_bytes, "a vector, for the spec that is chosen")
        ->excludes(spec);
    command.add_option("-n,--neighbors", options->k, "neighbours that the recall counts")
        ->capture_default_str();
    options->device.add_index_options(command);
    session.add_command(command, [options, spec, &session] {
        options->choose = spec->count() == 0;
        build(*options, session);
    });
}

}  // namespace nearcell::cli
