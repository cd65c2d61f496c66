#include <memory>

#include <nearcell/gpu/exact_search.h>
#include "device_bench.h"

namespace nearcell::bench {
namespace {

// The part of a whole that is known; nothing where it is not.
void add_part(Line& line, std::string_view name, double value, double whole) {
    if (whole > 0) line.add(name, value / whole);
}

}  // namespace

std::vector<int64_t> bench_exact(const Setting& setting, const Rows& base, const Rows& queries) {
    std::unique_ptr<gpu::DeviceFlat> flat;
    const double copied =
        seconds_of([&] { flat = std::make_unique<gpu::DeviceFlat>(base.view(), Metric::L2); });
    setting.report.write(Line("exact base")
                             .add("rows", static_cast<double>(base.rows))
                             .add("dim", static_cast<double>(base.dim))
                             .add("seconds", copied));
    std::vector<int64_t> truth;
    for (const size_t batch : setting.size.batches) {
        const Vectors all(queries.view());
        const size_t parts = queries.rows / batch;
        SearchResult result;
        const Timing timing = repeat(setting.size.repetitions, setting.size.seconds, [&](size_t i) {
            result = flat->search(all.slice(i % parts * batch, batch), kNeighbours);
        });
        if (truth.empty()) truth = result.ids;
        const auto rows = static_cast<double>(base.rows);
        const double pairs = rows * static_cast<double>(batch);
        const double products = 2 * pairs * static_cast<double>(base.dim) / timing.median;
        const size_t row_bytes = 2 * ((base.dim + 31) / 32 * 32) + 8;  // rounded, and their terms
        const double bytes =
            rows * static_cast<double>(row_bytes) / timing.median;  // once at least
        Line line("exact");
        line.add("rows", rows).add("dim", static_cast<double>(base.dim));
        line.add("batch", static_cast<double>(batch));
        line.add("queries_per_second", static_cast<double>(batch) / timing.median);
        line.add("TFLOPs", products / 1e12).add("GBs", bytes / 1e9);
        add_part(line, "of_peak_products", products, setting.facts.peak_products);
        add_part(line, "of_copy_rate", bytes, setting.copy_rate);
        add_part(line, "of_peak_bytes", bytes, setting.facts.peak_bytes_per_second);
        line.add("rescored_per_query",
                 static_cast<double>(result.stats.reranked) / static_cast<double>(batch));
        setting.report.write(line.add(timing));
    }
    return truth;
}

void profile_exact(const Setting& setting, const Rows& base, const Rows& queries) {
    const gpu::DeviceFlat flat(base.view(), Metric::L2);
    const Vectors batch = Vectors(queries.view()).slice(0, setting.size.batches[0]);
    profile([&] { flat.search(batch, kNeighbours); });
}

}  // namespace nearcell::bench
