// device_bench: what searches on a GPU cost, whole calls by a steady clock, host arrays in and out;
// device_arrays_ms: the same between arrays on the device.
//   device_bench [--size tiny|medium|full] [--seconds N] [--json FILE] [--write FOLDER] [--spec
//   TEXT] [--profile yes]
// --seconds: no part begins that is not expected to end by then. --write: also leaves the data and
// the true neighbours, for peers.py; those of wider data in a folder of their own. --spec: of the
// parts beyond exact search only those that have TEXT in their name, as indexes have their spec.
// --profile yes: nothing is timed; a profiler that waits for cudaProfilerStart sees one search of
// each kind.
// Status 77: there is no GPU, and it says why.
#include <cstdlib>
#include <filesystem>
#include <optional>

#include <nearcell/core/error.h>
#include <nearcell/kernels/device.h>
#include "device_bench.h"

#ifndef NEARCELL_CUDA  // the library then has no GPU part, and the emulated one is this program's
#include <nearcell/gpu/cuda_device.h>
#endif

namespace nearcell::bench {
namespace {

constexpr int kSkipped = 77;

struct Arguments {
    const Size* size = &kSizes[0];
    double seconds = 240;
    std::string json, folder, spec;
    bool profile = false;
};

std::optional<Arguments> parse(int argc, char** argv) {
    Arguments arguments;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string name = argv[i], value = argv[i + 1];
        if (name == "--size") {
            arguments.size = nullptr;
            for (const Size& one : kSizes) {
                if (one.name == value) arguments.size = &one;
            }
        } else if (name == "--seconds") {
            arguments.seconds = std::atof(value.c_str());
        } else if (name == "--json") {
            arguments.json = value;
        } else if (name == "--write") {
            arguments.folder = value;
        } else if (name == "--spec") {
            arguments.spec = value;
        } else if (name == "--profile") {
            arguments.profile = value == "yes";
        } else {
            return std::nullopt;
        }
    }
    if (argc % 2 == 0 || arguments.size == nullptr || !(arguments.seconds > 0)) return std::nullopt;
    return arguments;
}

void describe(const Setting& setting) {
    const DeviceFacts& facts = setting.facts;
    setting.report.write(Line("device")
                             .add("model", facts.model)
                             .add("architecture", facts.architecture)
                             .add("processors", facts.processors)
                             .add("memory_bytes", facts.memory_bytes)
                             .add("driver", facts.driver)
                             .add("runtime", facts.runtime)
                             .add("most_clock_mhz", facts.most_clock_mhz)
                             .add("peak_GBs", facts.peak_bytes_per_second / 1e9)
                             .add("peak_bf16_TFLOPs", facts.peak_products / 1e12)
                             .add("copy_GBs", setting.copy_rate / 1e9)
                             .add("commit", NEARCELL_COMMIT)
                             .add("compiler", __VERSION__)
                             .add("cpu", cpu_backend().describe())
                             .add("size", setting.size.name));
}

std::vector<std::string> specs(const Size& size) {
    const std::string cells = "IVF" + std::to_string(size.cells) + ",";
    return {cells + "SQfp16nr", cells + "SQ8nr", cells + "RaBitQ,RFlat",
            cells + "PQ" + std::to_string(size.dim / 2) + ",RFlat",
            cells + "PQ" + std::to_string(size.dim) + "x4fs"};
}

// Runs parts, and leaves out those that are expected to take longer than there is time.
class Parts {
   public:
    explicit Parts(const Setting& setting) : setting_(setting) {}

    template <class Part>
    void run(const std::string& name, double expected, Part&& part) {
        if (setting_.budget.left() < expected) {
            setting_.report.write(Line("left out")
                                      .add("part", name)
                                      .add("expected_seconds", expected)
                                      .add("seconds_left", setting_.budget.left()));
            complete_ = false;
            return;
        }
        const double start = setting_.budget.used();
        try {
            part();
        } catch (const Error& error) {  // too little memory, say: the other parts go on
            setting_.report.write(Line("failed").add("part", name).add("error", error.what()));
            complete_ = false;
        }
        last_ = setting_.budget.used() - start;
        setting_.report.write(Line("done").add("part", name).add("seconds", last_));
    }
    double last() const { return last_; }        // seconds
    bool complete() const { return complete_; }  // nothing failed or was left out

   private:
    const Setting& setting_;
    double last_ = 0;
    bool complete_ = true;
};

// For peers.py; nowhere for "".
void write_data(const std::string& folder, const Rows& base, const Rows& queries,
                const std::vector<int64_t>& truth) {
    if (folder.empty()) return;
    std::filesystem::create_directories(folder);
    write_floats(folder + "/base.fbin", base.view());
    write_floats(folder + "/queries.fbin", queries.view());
    write_ids(folder + "/truth.ibin", truth, kNeighbours);
}

std::string wide_spec(const Size& size) {
    return "IVF" + std::to_string(size.cells / 4) + ",SQfp16nr";
}

// So many times as many dimensions, of fewer rows.
void bench_wide(const Setting& setting, const std::string& folder, size_t times) {
    const Size& size = setting.size;
    const size_t dim = size.wide_dim * times;
    const Rows base = manifold(size.wide_rows / times, dim, 1);
    const Rows queries = manifold(size.batches[0], dim, 2);
    std::vector<int64_t> truth;
    if (!setting.profile) truth = bench_exact(setting, base, queries);
    if (!folder.empty()) write_data(folder + "/" + std::to_string(dim), base, queries, truth);
    bench_index(setting, wide_spec(size), base, queries, truth);
}

std::string wide_name(const Size& size, size_t times) {
    return std::to_string(size.wide_dim * times) + " dimensions, " + wide_spec(size);
}

bool bench_all(const Setting& setting, const Arguments& arguments) {
    const std::string& folder = arguments.folder;
    const Size& size = setting.size;
    Parts parts(setting);
    Rows base, queries;
    std::vector<int64_t> truth;
    parts.run("data", 0, [&] {
        base = manifold(size.rows, size.dim, 1);
        queries = manifold(size.batches[0], size.dim, 2);
    });
    const auto run_if_asked = [&](const std::string& name, double expected, const auto& part) {
        if (name.find(arguments.spec) != std::string::npos) parts.run(name, expected, part);
    };
    if (arguments.profile) {
        if (arguments.spec.empty())
            parts.run("exact", 0, [&] { profile_exact(setting, base, queries); });
    } else {
        parts.run("exact", 0, [&] { truth = bench_exact(setting, base, queries); });
        if (truth.empty()) return false;  // no recall without it
    }
    if (!folder.empty()) parts.run("write", 0, [&] { write_data(folder, base, queries, truth); });
    double longest = 0;
    size_t done = 0;
    for (const std::string& spec : specs(size)) {
        run_if_asked(spec, 1.2 * longest,
                     [&] { bench_index(setting, spec, base, queries, truth); });
        longest = std::max(longest, parts.last());
        if (++done != 2 || arguments.profile)
            continue;  // what says most is measured; now what explains it
        run_if_asked("codes", 6 * longest, [&] { bench_codes(setting, base, queries); });
        run_if_asked("build", longest / 2, [&] { bench_build(setting, base); });
        run_if_asked("pca", longest, [&] { bench_pca(setting); });
        run_if_asked("extract", longest, [&] { bench_network(setting); });
        for (const size_t times : {size_t{1}, size_t{2}})
            run_if_asked(wide_name(size, times), 1.5 * longest,
                         [&] { bench_wide(setting, folder, times); });
    }
    if (arguments.profile) run_if_asked(wide_name(size, 2), 0, [&] { bench_wide(setting, "", 2); });
    return parts.complete();
}

int run(int argc, char** argv) {
    const auto arguments = parse(argc, argv);
    if (!arguments) {
        std::printf(
            "usage: device_bench [--size tiny|medium|full] [--seconds N] [--json FILE] "
            "[--write FOLDER] [--spec TEXT] [--profile yes]\n");
        return 2;
    }
#ifndef NEARCELL_CUDA
    set_device_source(&gpu::cuda_devices());
#endif
    if (devices().empty()) {
        std::printf("no GPU: %s\n", built_in_devices().why().c_str());
        return kSkipped;
    }
    Report report(arguments->json);
    const Budget budget(arguments->seconds);
    const Setting setting{*arguments->size, budget,
                          device_facts(),   copy_rate(arguments->size->copy_bytes),
                          report,           arguments->profile};
    describe(setting);
    return bench_all(setting, *arguments) ? 0 : 1;
}

}  // namespace
}  // namespace nearcell::bench

int main(int argc, char** argv) {
    try {
        return nearcell::bench::run(argc, argv);
    } catch (const std::exception& error) {
        std::printf("%s\n", error.what());
        return 1;
    }
}
