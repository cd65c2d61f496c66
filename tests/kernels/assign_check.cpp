// Assignment: the nearest and the second smallest key of all rows, over calls that follow each
// other, compared with the reference and, bit by bit, with the keys that the table's own scan
// gives.
#include <cmath>

#include "kernel_check.h"
#include "tile_case.h"

namespace nearcell::checks {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Assignment {
    const OpCase& op;
    const TileCase& input;
    const Floats& bias;
    Metric metric;
    float scale;

    // Two calls, split anywhere, on top of what `nearest` holds.
    std::vector<Nearest> run(AssignKernel* kernel, size_t split,
                             std::vector<Nearest> nearest) const {
        const float* second = input.blocks.data() + split * input.d * kBlock;
        kernel(input.blocks.data(), split, input.d, bias.data(), scale, input.queries.data(),
               input.query_count, 100, nearest.data());
        kernel(second, input.block_count - split, input.d, bias.data() + split * kBlock, scale,
               input.queries.data(), input.query_count, static_cast<uint32_t>(100 + split * kBlock),
               nearest.data());
        return nearest;
    }

    // The same from single keys, in the order of the rows.
    Nearest expected(size_t q, const std::vector<float>& keys, Nearest nearest) const {
        for (size_t row = 0; row < input.rows(); ++row) {
            const float key = keys[q * input.rows() + row];
            const uint32_t number = static_cast<uint32_t>(100 + row);
            if (!(key < kInfinity)) continue;
            if (key < nearest.best || (key == nearest.best && number < nearest.row)) {
                nearest = {key, nearest.best, number};
            } else if (key < nearest.second) {
                nearest.second = key;
            }
        }
        return nearest;
    }

    // Every key, by the scan of the same table and the arithmetic that completes it.
    std::vector<float> keys() const {
        const bool dot = is_similarity(metric);
        ScanKernel* scan = dot ? op.table.scan_ip_f32 : op.table.scan_l2_f32;
        const std::vector<float> thresholds(input.query_count, kInfinity);
        const std::vector<uint16_t> masks(input.block_count, 0xffff);
        std::vector<float> all(input.query_count * input.rows(), std::nanf(""));
        std::vector<Hit> hits(all.size());
        hits.resize(scan(input.blocks.data(), input.block_count, input.d,
                         dot ? nullptr : bias.data(), input.queries.data(), input.query_count,
                         thresholds.data(), masks.data(), hits.data()));
        for (const Hit& hit : hits) {
            float& key = all[hit.query * input.rows() + hit.slot];
            const float offset = bias[hit.slot];
            key = hit.key;
            if (dot) key = op.fused ? std::fma(scale, -key, offset) : scale * -key + offset;
        }
        return all;
    }

    double magnitude(size_t q, size_t row) const {
        const double factor = is_similarity(metric) ? std::fabs(static_cast<double>(scale)) : 1;
        const double offset = static_cast<double>(bias[row]);
        return factor * input.magnitude(metric, q, row) +
               (std::isfinite(offset) ? std::fabs(offset) : 0);
    }
};

bool equal(const Nearest& a, const Nearest& b) {
    // Zeros may differ in sign: they are equal keys.
    const auto same = [](float x, float y) { return x == y || same_bits(x, y); };
    return same(a.best, b.best) && same(a.second, b.second) && a.row == b.row;
}

std::vector<Nearest> draw_nearest(const TileCase& input, Random& random) {
    std::vector<Nearest> nearest(input.query_count, Nearest{kInfinity, kInfinity, UINT32_MAX});
    for (Nearest& near : nearest) {
        if (random.below(3) != 0) continue;
        const float best = draw(Values::Integers, random);  // as if rows below 100 had been seen
        near = {best, best + draw(Values::Integers, random), 5};
    }
    return nearest;
}

void check_case(const Assignment& work, AssignKernel* kernel, AssignKernel* reference,
                Random& random, CheckLog& log, Digest& digest) {
    const TileCase& input = work.input;
    const std::vector<Nearest> start = draw_nearest(input, random);
    const size_t split = random.below(input.block_count + 1);
    const std::vector<Nearest> got = work.run(kernel, split, start);
    const std::vector<Nearest> truth = work.run(reference, input.block_count, start);
    const std::vector<float> keys = work.keys();
    const bool is_reference = kernel == reference;
    for (size_t q = 0; q < input.query_count; ++q) {
        digest.add(got[q].best);
        digest.add(got[q].second);
        digest.add(got[q].row);
        const Nearest expected = work.expected(q, keys, start[q]);
        log.expect(is_reference || equal(got[q], expected), work.op.table.isa, " ", work.op.name,
                   ": d ", input.d, " blocks ", input.block_count, " split ", split, " values ",
                   static_cast<int>(input.values), " query ", q, " of ", input.query_count,
                   ": best ", got[q].best, " second ", got[q].second, " row ", got[q].row, " not ",
                   expected.best, " ", expected.second, " ", expected.row);
        double magnitude = 0;
        for (size_t row = 0; row < input.rows(); ++row)
            magnitude = std::max(magnitude, work.magnitude(q, row));
        if (input.values == Values::Special) continue;  // the comparison above covers it
        const size_t roundings = input.d + 4;
        log.expect(near(got[q].best, truth[q].best, magnitude, roundings) &&
                       near(got[q].second, truth[q].second, magnitude, roundings),
                   work.op.table.isa, " ", work.op.name, ": d ", input.d, " values ",
                   static_cast<int>(input.values), " query ", q, ": ", got[q].best, " ",
                   got[q].second, " not ", truth[q].best, " ", truth[q].second);
        if (input.values == Values::Integers) {  // nothing is rounded: ties are exact
            log.expect(equal(got[q], truth[q]), work.op.table.isa, " ", work.op.name, ": d ",
                       input.d, " query ", q, ": row ", got[q].row, " not ", truth[q].row);
        }
    }
}

}  // namespace

uint64_t check_op(const OpCase& op, AssignKernel* kernel, AssignKernel* reference, CheckLog& log) {
    const std::optional<Metric> metric = metric_of(op.name);
    Digest digest;
    if (!metric) return 0;
    for_each_tile_case(check_dims(), [&](const TileCase& input, Random& random) {
        Floats bias = input.bias;
        const size_t rows = input.rows() - random.below(kBlock);
        for (size_t row = rows; row < input.rows(); ++row)
            bias[row] = kInfinity;
        const float scale = random.below(2) == 0 ? -2.0f : -1.0f;
        check_case({op, input, bias, *metric, scale}, kernel, reference, random, log, digest);
    });
    return digest.value();
}

}  // namespace nearcell::checks
