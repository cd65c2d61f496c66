// nearcell bench kernels: how much of the machine the kernels use, by the roofline model.
#include <fnmatch.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nearcell/core/progress.h>
#include <nearcell/cpu/isa_select.h>
#include <nearcell/kernels/backend.h>

#include "commands.h"
#include "machine.h"
#include "number_text.h"
#include "roofline_report.h"
#include "session.h"

namespace nearcell::cli {
namespace {

struct BenchOptions {
    std::vector<size_t> dims = {128, 384, 768};
    std::vector<std::string> ops, isas;
    bool memory = false;
};

std::vector<std::string> chosen_ops(const std::vector<std::string>& patterns) {
    std::vector<std::string> chosen;
    std::string all;
    for (const std::string& op : kernel_call_names()) {
        const auto matches = [&](const std::string& pattern) {
            return fnmatch((pattern + "*").c_str(), op.c_str(), 0) == 0;
        };
        if (patterns.empty() || std::any_of(patterns.begin(), patterns.end(), matches))
            chosen.push_back(op);
        all += (all.empty() ? "" : ", ") + op;
    }
    if (chosen.empty()) {
        throw_error(StatusCode::InvalidArgument, "--op = \"", patterns.front(),
                    "\" matches no operation: they are ", all);
    }
    return chosen;
}

std::vector<const KernelTable*> chosen_tables(const std::vector<std::string>& isas) {
    std::vector<const KernelTable*> tables = runnable_tables();
    std::erase_if(tables, [&](const KernelTable* table) {
        return !isas.empty() && std::find(isas.begin(), isas.end(), table->isa) == isas.end();
    });
    return tables;
}

void machine_facts(Session& session) {
    std::string runnable;
    for (const std::string& name : cpu_instruction_sets())
        runnable += (runnable.empty() ? "" : " ") + name;
    session.fact("version", std::string(NEARCELL_VERSION));
    session.fact("compiler", compiler());
    session.fact("cpu", cpu_model());
    session.fact("instruction_sets", cpu_instruction_sets(), runnable);
}

// Measures kernels of one instruction set, and its ceilings in between: where other work slows the
// machine down for a while, ceilings of that while would be too low.
class IsaBench {
   public:
    IsaBench(const KernelTable& table, StoredWords& words, const LevelBytes& levels, bool memory)
        : table_(table), words_(words), levels_(levels), memory_(memory) {
        measure_ceilings();
    }

    void measure_ceilings() { roofline_.raise(measure_roofline(table_, words_, levels_)); }

    void measure(const std::string& op, KernelInputs& inputs) {
        const StoredBytes stored{memory_ ? levels_.memory : levels_.l2, levels_.l2};
        KernelCall call = kernel_call(op, table_, inputs, words_, stored);
        const Spread seconds = seconds_a_unit(call.run);
        call.run = nullptr;  // it refers to the inputs
        kernels_.push_back({table_.isa, inputs.d, std::move(call), seconds, {}});
    }

    void add_to(RooflineReport& report) {
        report.add(table_.isa, roofline_);
        for (KernelFigures& kernel : kernels_) {
            kernel.bound = bound_of(roofline_.arithmetic.at(kernel.call.peak),
                                    memory_ ? roofline_.memory : roofline_.l2, kernel.call);
            report.add(kernel);
        }
    }

   private:
    const KernelTable& table_;
    StoredWords& words_;
    const LevelBytes& levels_;
    bool memory_;
    Roofline roofline_;
    std::vector<KernelFigures> kernels_;
};

void bench_kernels(const BenchOptions& options, Session& session) {
    const std::vector<std::string> ops = chosen_ops(options.ops);
    const std::vector<const KernelTable*> tables = chosen_tables(options.isas);
    const LevelBytes levels = level_bytes();
    StoredWords words(levels.memory);
    RooflineReport figures(options.memory ? "memory" : "l2");

    const Progress progress = session.progress();
    const auto steps = static_cast<double>(tables.size() * options.dims.size() * ops.size());
    double done = 0;
    for (const KernelTable* table : tables) {
        IsaBench bench(*table, words, levels, options.memory);
        for (const size_t dim : options.dims) {
            KernelInputs inputs(dim);
            for (const std::string& op : ops) {
                report(progress, "measuring", done++, steps);
                bench.measure(op, inputs);
            }
            bench.measure_ceilings();
        }
        bench.add_to(figures);
    }

    machine_facts(session);
    session.fact("threads", uint64_t{1});
    session.fact("stored_in", options.memory ? "memory" : "l2",
                 options.memory ? "memory" : "second-level cache (in memory with --memory)");
    const size_t bytes = options.memory ? levels.memory : levels.l2;
    session.fact("stored_bytes", bytes, bytes_text(static_cast<double>(bytes)));
    session.fact("queries_per_call", KernelInputs::kQueries);
    figures.print(session);
}

}  // namespace

void add_bench(CLI::App& app, Session& session) {
    CLI::App& group = *app.add_subcommand("bench", "what this machine can do");
    group.require_subcommand(1);
    CLI::App& command = *group.add_subcommand(
        "kernels", "how much of the machine the kernels use, on one thread (roofline)");
    auto options = std::make_shared<BenchOptions>();
    command.add_option("--dim", options->dims, "dimensions")
        ->check(CLI::Range(size_t{1}, KernelInputs::kMaxDim))
        ->delimiter(',')
        ->capture_default_str();
    command.add_option("--op", options->ops, "operations that begin so; * and ? as in a shell")
        ->delimiter(',');
    command.add_option("--isa", options->isas, "instruction sets; all when not given")
        ->check(CLI::IsMember(cpu_instruction_sets()))
        ->delimiter(',');
    command.add_flag("--memory", options->memory, "stored vectors in memory, not in the cache");
    session.add_command(command, [options, &session] { bench_kernels(*options, session); });
    add_bench_network(group, session);
}

}  // namespace nearcell::cli
