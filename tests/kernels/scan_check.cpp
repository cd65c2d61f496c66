// Scans: every key once when the thresholds are infinite, and under other thresholds and masks
// exactly those of them that pass.
#include <algorithm>
#include <cmath>

#include "kernel_check.h"
#include "tile_case.h"

namespace nearcell::checks {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Scan {
    const OpCase& op;
    ScanKernel* kernel;
    const TileCase& input;
    CheckLog& log;

    // Runs the kernel; its hits in the order (query, slot).
    std::vector<Hit> run(const float* bias, const std::vector<float>& thresholds,
                         const std::vector<uint16_t>& masks) const {
        constexpr float kUntouched = 54321.5f;
        const size_t room = input.query_count * input.rows();
        std::vector<Hit> hits(room + 1, Hit{kUntouched, 0, 0});
        const size_t count =
            kernel(input.blocks.data(), input.block_count, input.d, bias, input.queries.data(),
                   input.query_count, thresholds.data(), masks.data(), hits.data());
        log.expect(count <= room, op.table.isa, " ", op.name, " returned ", count, " hits of ",
                   room);
        log.expect(hits[room].key == kUntouched, op.table.isa, " ", op.name,
                   " wrote past the room");
        hits.resize(std::min(count, room));
        std::sort(hits.begin(), hits.end(), [](const Hit& a, const Hit& b) {
            return a.query != b.query ? a.query < b.query : a.slot < b.slot;
        });
        return hits;
    }

    // The key of every query and row, NaN where there was no hit.
    std::vector<float> keys(const float* bias) const {
        const std::vector<float> thresholds(input.query_count, kInfinity);
        const std::vector<uint16_t> masks(input.block_count, 0xffff);
        std::vector<float> all(input.query_count * input.rows(), std::nanf(""));
        std::vector<bool> seen(all.size(), false);
        for (const Hit& hit : run(bias, thresholds, masks)) {
            const size_t at = hit.query * input.rows() + hit.slot;
            const bool fits = hit.query < input.query_count && hit.slot < input.rows();
            log.expect(fits && !seen[at], op.table.isa, " ", op.name, ": query ", hit.query,
                       " slot ", hit.slot, " does not exist or comes twice");
            if (!fits) continue;
            seen[at] = true;
            log.expect(!std::isnan(hit.key), op.table.isa, " ", op.name, ": a NaN is a hit");
            all[at] = hit.key;
        }
        return all;
    }

    void expect_passing(const std::vector<float>& all, const float* bias,
                        const std::vector<float>& thresholds) const {
        std::vector<Hit> expected;
        for (size_t at = 0; at < all.size(); ++at) {
            const size_t query = at / input.rows(), row = at % input.rows();
            const bool allowed = (input.masks[row / kBlock] >> (row % kBlock) & 1) != 0;
            if (allowed && all[at] <= thresholds[query]) {
                expected.push_back(
                    {all[at], static_cast<uint32_t>(query), static_cast<uint32_t>(row)});
            }
        }
        const std::vector<Hit> got = run(bias, thresholds, input.masks);
        const bool equal =
            std::equal(got.begin(), got.end(), expected.begin(), expected.end(),
                       [](const Hit& a, const Hit& b) {
                           return same_bits(a.key, b.key) && a.query == b.query && a.slot == b.slot;
                       });
        log.expect(equal, op.table.isa, " ", op.name, ": d ", input.d, " blocks ",
                   input.block_count, " queries ", input.query_count, " values ",
                   static_cast<int>(input.values), ": ", got.size(), " hits, ", expected.size(),
                   " expected, or others");
    }
};

float draw_threshold(const std::vector<float>& all, size_t query, size_t rows, Random& random) {
    const float key = all[query * rows + random.below(rows)];
    switch (random.below(8)) {
        case 0: return kInfinity;
        case 1: return -kInfinity;
        case 2: return std::nanf("");
        case 3: return std::nextafter(key, -kInfinity);
        case 4: return std::nextafter(key, kInfinity);
        default: return key;  // an equal key passes
    }
}

}  // namespace

uint64_t check_op(const OpCase& op, ScanKernel* kernel, ScanKernel* reference, CheckLog& log) {
    const std::optional<Metric> metric = metric_of(op.name);
    Digest digest;
    if (!metric) return 0;
    const OpCase oracle{op.name, reference_table(), false};
    for_each_tile_case(check_dims(), [&](const TileCase& input, Random& random) {
        const Scan scan{op, kernel, input, log}, truth{oracle, reference, input, log};
        for (const float* bias : {static_cast<const float*>(nullptr), input.bias.data()}) {
            const std::vector<float> got = scan.keys(bias), expected = truth.keys(bias);
            for (size_t at = 0; at < got.size(); ++at) {
                const size_t query = at / input.rows(), row = at % input.rows();
                double magnitude = input.magnitude(*metric, query, row);
                if (bias != nullptr) magnitude += static_cast<double>(std::fabs(bias[row]));
                const size_t roundings = input.d + 2 + (bias != nullptr ? 1 : 0);
                log.expect(near(got[at], expected[at], magnitude, roundings), op.table.isa, " ",
                           op.name, ": d ", input.d, " values ", static_cast<int>(input.values),
                           " query ", query, " row ", row, ": ", got[at], " not ", expected[at]);
                digest.add(got[at]);
            }
            std::vector<float> thresholds;
            for (size_t q = 0; q < input.query_count; ++q)
                thresholds.push_back(draw_threshold(expected, q, input.rows(), random));
            scan.expect_passing(got, bias, thresholds);
            for (float& threshold : thresholds)  // those of its own keys meet them exactly
                threshold = got[random.below(got.size())];
            scan.expect_passing(got, bias, thresholds);
        }
    });
    return digest.value();
}

}  // namespace nearcell::checks
