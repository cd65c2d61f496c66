// nearcell build BASE: trains an index on vectors, adds them, tunes it when asked, and saves it.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include <nearcell/core/random.h>
#include <nearcell/index/factory.h>

#include "commands.h"
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
    std::optional<double> tune_recall;
    std::string queries, truth;
    size_t k = 10;
};

struct TuneInput {
    VectorData queries;
    IdData truth;
};

// Read before the work, so that a wrong file is reported at once.
std::optional<TuneInput> read_tune_input(const BuildOptions& options, size_t dim) {
    if (!options.tune_recall) return std::nullopt;
    check_recall_target(*options.tune_recall);
    TuneInput input;
    input.queries = read_queries(options.queries);
    check_dim(input.queries.view(), dim, options.queries);
    input.truth = read_truth(options.truth, input.queries.rows, options.k);
    return input;
}

// `count` rows drawn by the seed, in the order of the file.
VectorData sample_rows(const VectorData& from, size_t count, uint64_t seed) {
    Random random(seed);
    std::vector<size_t> rows = random_sample(from.rows, count, random);
    std::sort(rows.begin(), rows.end());
    const size_t row_bytes = from.cols * element_size(from.type);
    VectorData sample{AlignedBuffer<uint8_t>(count * row_bytes), from.type, count, from.cols};
    uint8_t* out = sample.bytes.mutable_data();
    for (size_t row : rows) {
        std::memcpy(out, from.bytes.data() + row * row_bytes, row_bytes);
        out += row_bytes;
    }
    return sample;
}

TrainReport train(CellIndex& index, const VectorData& base, const BuildOptions& options,
                  const CallOptions& call) {
    if (options.train_rows == 0 || options.train_rows >= base.rows) {
        return index.train(base.view(), call);
    }
    return index.train(sample_rows(base, options.train_rows, options.seed).view(), call);
}

void describe(const CellIndex& index, const TrainReport& report, Session& session) {
    const IndexStats stats = index.stats();
    session.fact("spec", stats.spec);
    session.fact("metric", std::string(metric_name(index.metric())));
    session.fact("rows", stats.size);
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
    const size_t dim = vector_file_info(options.base).cols;
    const IndexOptions wanted{dim, metric_from_option(options.metric), options.seed};
    const auto index = make_index(options.spec, wanted);
    const auto tune_input = read_tune_input(options, dim);
    const CallOptions call{session.threads(), session.progress()};

    Stopwatch watch;
    const VectorData base = read_vectors(options.base);
    const double read_seconds = watch.lap();
    check_interrupted();
    const TrainReport report = train(*index, base, options, call);
    const double train_seconds = watch.lap();
    index->add(base.view(), {}, call);
    const double add_seconds = watch.lap();
    describe(*index, report, session);
    if (tune_input) {
        tune_and_report(*index, tune_input->queries.view(), tune_input->truth, *options.tune_recall,
                        options.k, session);
    }
    check_interrupted();
    watch.lap();
    index->save(options.out);
    const double save_seconds = watch.lap();

    const uint64_t bytes = file_bytes(options.out);
    session.fact_seconds("read_seconds", read_seconds);
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
    command.add_option("-k,--spec", options->spec, "factory string, such as IVF1024,PQ16,RFlat")
        ->required();
    command.add_option("-o,--output", options->out, "index file")->required();
    add_metric_option(command, options->metric);
    command.add_option("--seed", options->seed, "seed of training")->capture_default_str();
    command
        .add_option("--train-rows", options->train_rows, "train on so many sampled rows; 0 = all")
        ->capture_default_str();
    auto* queries = command.add_option("--queries", options->queries, "query vectors to tune with");
    auto* truth = command.add_option("--truth", options->truth, "their true neighbours");
    command.add_option("--tune-recall", options->tune_recall, "tune to this recall, in (0, 1]")
        ->needs(queries)
        ->needs(truth);
    command.add_option("-n,--neighbors", options->k, "neighbours that the recall counts")
        ->capture_default_str();
    session.add_command(command, [options, &session] { build(*options, session); });
}

}  // namespace nearcell::cli
