// nearcell bench network: the time of a network's layers, beside what the roofline allows them.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include <nearcell/core/random.h>
#include <nearcell/cpu/isa_select.h>

#include "commands.h"
#include "machine.h"
#include "network_options.h"
#include "number_text.h"
#include "roofline.h"
#include "session.h"
#include "stopwatch.h"

namespace nearcell::cli {
namespace {

struct BenchNetworkOptions {
    NetworkOptions network;
    size_t rounds = 30, layers = 20;
};

double median(std::vector<double> values) {
    const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

// Seconds of each layer, and of the whole pass as the last: the medians over the rounds.
std::vector<double> measure(const Network& network, size_t rounds, Session& session) {
    Random random(1);
    std::vector<float> planes(network.input_shape().values()), out(network.output_shape().values());
    for (float& value : planes)
        value = static_cast<float>(random.uniform() * 2 - 1);
    const size_t layers = network.layers().size();
    std::vector<double> seconds(layers);
    std::vector<std::vector<double>> all(layers + 1);
    Network::Pass pass(network);
    const Progress progress = session.progress();
    pass.run(planes, out);
    for (size_t round = 0; round < rounds; ++round) {
        report(progress, "measuring", static_cast<double>(round), static_cast<double>(rounds));
        const Stopwatch watch;
        pass.run(planes, out, seconds);
        all.back().push_back(watch.seconds());
        for (size_t l = 0; l < layers; ++l)
            all[l].push_back(seconds[l]);
    }
    std::vector<double> medians;
    for (const std::vector<double>& one : all)
        medians.push_back(median(one));
    return medians;
}

// Of the backend: the best, or what NEARCELL_ISA names.
const KernelTable& table_in_use() {
    const char* const isa = std::getenv("NEARCELL_ISA");
    return select_kernels(isa == nullptr ? "" : isa);
}

void bench_network(const BenchNetworkOptions& options, Session& session) {
    check(options.rounds >= 1, StatusCode::InvalidArgument, "--rounds 0 must be at least 1");
    const Extractor extractor = options.network.make_extractor();
    const Network& network = extractor.network();
    const LevelBytes levels = level_bytes();
    const StoredWords words(levels.memory);
    Roofline roofline = measure_roofline(table_in_use(), words, levels);
    const std::vector<double> seconds = measure(network, options.rounds, session);
    roofline.raise(measure_roofline(table_in_use(), words, levels));
    const double peak = roofline.arithmetic.at("peak_fma");

    const double whole = seconds.back(),
                 operations = 2 * static_cast<double>(network.multiply_adds());
    session.fact("cpu", cpu_model());
    session.fact("instruction_set", std::string(table_in_use().isa));
    session.fact("model", extractor.model().name);
    session.fact("threads", uint64_t{1});
    session.fact("ms_a_picture", whole * 1e3, fixed_text(whole * 1e3, 2));
    session.fact("gflop_a_picture", operations * 1e-9, fixed_text(operations * 1e-9, 2));
    session.fact("gflops", operations / whole * 1e-9, fixed_text(operations / whole * 1e-9, 0));
    session.fact("peak_gflops", peak * 1e-9, fixed_text(peak * 1e-9, 0));
    session.fact("memory_gbps", roofline.memory * 1e-9, fixed_text(roofline.memory * 1e-9, 1));

    const std::vector<LayerCost> costs = network.costs();
    std::vector<size_t> order(costs.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return seconds[a] > seconds[b]; });
    Table table({{"layer", Table::Align::Left},
                 {"output", Table::Align::Left},
                 {"ms"},
                 {"of all"},
                 {"Gop/s"},
                 {"op/B"},
                 {"bound"},
                 {"by", Table::Align::Left},
                 {"reached"}});
    Json list = Json::array();
    size_t table_rows = 0;
    for (const size_t l : order) {
        const LayerCost& cost = costs[l];
        const KernelCall call{cost.name, "peak_fma", 2 * static_cast<double>(cost.multiply_adds),
                              static_cast<double>(cost.bytes), nullptr};
        const Bound bound = bound_of(peak, roofline.memory, call);
        const double rate = call.operations / seconds[l], share = seconds[l] / whole;
        const std::string by = bound.by_reading ? "memory" : "fma";
        list.push_back({{"layer", cost.name},
                        {"ms", seconds[l] * 1e3},
                        {"share", share},
                        {"gops", rate * 1e-9},
                        {"intensity", call.operations / call.bytes},
                        {"bound_gops", bound.operations * 1e-9},
                        {"bound_by", by},
                        {"fraction", bound.operations > 0 ? rate / bound.operations : 0}});
        if (table_rows == options.layers || cost.multiply_adds == 0) continue;
        ++table_rows;
        table.add_row({cost.name,
                       std::to_string(cost.output.height) + " x " +
                           std::to_string(cost.output.width) + " x " +
                           std::to_string(cost.output.channels),
                       fixed_text(seconds[l] * 1e3, 3), fixed_text(share * 100, 1) + "%",
                       fixed_text(rate * 1e-9, 0), fixed_text(call.operations / call.bytes, 0),
                       fixed_text(bound.operations * 1e-9, 0), by,
                       fixed_text(100 * rate / bound.operations, 0) + "%"});
    }
    session.detail("layers", std::move(list));
    session.text(table.text() +
                 "\nMedians. op/B: of a layer's weights, input and output, each once. bound: what\n"
                 "arithmetic and memory allow at that; more than 100% where a cache held them.\n");
}

}  // namespace

void add_bench_network(CLI::App& group, Session& session) {
    CLI::App& command =
        *group.add_subcommand("network", "a network's layers, on one thread, beside the roofline");
    auto options = std::make_shared<BenchNetworkOptions>();
    options->network.add_network(command);
    command.add_option("--rounds", options->rounds, "passes measured")->capture_default_str();
    command.add_option("--layers", options->layers, "the longest so many are shown")
        ->capture_default_str();
    session.add_command(command, [options, &session] { bench_network(*options, session); });
}

}  // namespace nearcell::cli
