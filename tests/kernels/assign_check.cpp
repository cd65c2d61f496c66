// Assignment: of each lane the nearest and the second smallest key of all rows, over calls that
// follow each other, compared with the reference and, bit by bit, with the keys that the table's
// own scan gives. The queries of the tile case are the rows.
#include <cmath>

#include "kernel_check.h"
#include "tile_case.h"

namespace nearcell::checks {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr uint32_t kFirstRow = 100;

// What one vector has seen.
struct Seen {
    float best, second;
    uint32_t row;
};

Seen lane_of(const std::vector<Nearest>& nearest, size_t i) {
    const Nearest& lanes = nearest[i / kBlock];
    return {lanes.best[i % kBlock], lanes.second[i % kBlock], lanes.row[i % kBlock]};
}

struct Assignment {
    const OpCase& op;
    const TileCase& input;
    const std::vector<const float*>& rows;
    const Floats& bias;
    Metric metric;
    float scale;

    // Two calls, split anywhere, on top of what `nearest` holds.
    std::vector<Nearest> run(AssignKernel* kernel, size_t split,
                             std::vector<Nearest> nearest) const {
        kernel(input.blocks.data(), input.block_count, input.d, rows.data(), split, bias.data(),
               scale, kFirstRow, nearest.data());
        kernel(input.blocks.data(), input.block_count, input.d, rows.data() + split,
               rows.size() - split, bias.data() + split, scale,
               kFirstRow + static_cast<uint32_t>(split), nearest.data());
        return nearest;
    }

    // The same from single keys, in the order of the rows.
    Seen expected(size_t vector, const std::vector<float>& keys, Seen seen) const {
        for (size_t row = 0; row < rows.size(); ++row) {
            const float key = keys[row * input.rows() + vector];
            if (key < seen.best) {
                seen = {key, seen.best, kFirstRow + static_cast<uint32_t>(row)};
            } else if (key < seen.second) {
                seen.second = key;
            }
        }
        return seen;
    }

    // Every key, by the scan of the same table and the arithmetic that completes it.
    std::vector<float> keys() const {
        const bool dot = is_similarity(metric);
        ScanKernel* scan = dot ? op.table.scan_ip_f32 : op.table.scan_l2_f32;
        const std::vector<float> thresholds(rows.size(), kInfinity);
        const std::vector<uint16_t> masks(input.block_count, 0xffff);
        std::vector<float> all(rows.size() * input.rows(), std::nanf(""));
        std::vector<Hit> hits(all.size());
        hits.resize(scan(input.blocks.data(), input.block_count, input.d, nullptr, rows.data(),
                         rows.size(), thresholds.data(), masks.data(), hits.data()));
        for (const Hit& hit : hits) {
            const float offset = bias[hit.query];
            float key = hit.key;
            if (dot) key = op.fused ? std::fma(scale, -key, offset) : scale * -key + offset;
            all[hit.query * input.rows() + hit.slot] = key;
        }
        return all;
    }

    double magnitude(size_t row, size_t vector) const {
        double sum = 0;
        for (size_t j = 0; j < input.d; ++j)
            sum += term(metric, input.value(vector, j), rows[row][j]);
        if (!is_similarity(metric)) return sum;
        return std::fabs(static_cast<double>(scale)) * sum +
               std::fabs(static_cast<double>(bias[row]));
    }
};

bool equal(const Seen& a, const Seen& b) {
    // Zeros may differ in sign: they are equal keys.
    const auto same = [](float x, float y) { return x == y || same_bits(x, y); };
    return same(a.best, b.best) && same(a.second, b.second) && a.row == b.row;
}

std::vector<Nearest> draw_nearest(const TileCase& input, Random& random) {
    std::vector<Nearest> nearest(input.block_count);
    for (size_t i = 0; i < input.rows(); ++i) {
        Nearest& lanes = nearest[i / kBlock];
        Seen seen{kInfinity, kInfinity, UINT32_MAX};
        if (random.below(3) == 0) {
            const float best =
                draw(Values::Integers, random);  // as if rows below 100 had been seen
            seen = {best, best + std::fabs(draw(Values::Integers, random)), 5};
        }
        lanes.best[i % kBlock] = seen.best;
        lanes.second[i % kBlock] = seen.second;
        lanes.row[i % kBlock] = seen.row;
    }
    return nearest;
}

void check_case(const Assignment& work, AssignKernel* kernel, AssignKernel* reference,
                Random& random, CheckLog& log, Digest& digest) {
    const TileCase& input = work.input;
    const std::vector<Nearest> start = draw_nearest(input, random);
    const size_t split = random.below(work.rows.size() + 1);
    const std::vector<Nearest> all = work.run(kernel, split, start);
    const std::vector<Nearest> truths = work.run(reference, work.rows.size(), start);
    const std::vector<float> keys = work.keys();
    const bool is_reference = kernel == reference;
    for (size_t i = 0; i < input.rows(); ++i) {
        const Seen got = lane_of(all, i), truth = lane_of(truths, i);
        digest.add(got.best);
        digest.add(got.second);
        digest.add(got.row);
        const Seen expected = work.expected(i, keys, lane_of(start, i));
        log.expect(is_reference || equal(got, expected), work.op.table.isa, " ", work.op.name,
                   ": d ", input.d, " blocks ", input.block_count, " split ", split, " of ",
                   work.rows.size(), " values ", static_cast<int>(input.values), " vector ", i,
                   ": best ", got.best, " second ", got.second, " row ", got.row, " not ",
                   expected.best, " ", expected.second, " ", expected.row);
        if (input.values == Values::Special) continue;  // the comparison above covers it
        double magnitude = 0;
        for (size_t row = 0; row < work.rows.size(); ++row)
            magnitude = std::max(magnitude, work.magnitude(row, i));
        const size_t roundings = input.d + 4;
        log.expect(near(got.best, truth.best, magnitude, roundings) &&
                       near(got.second, truth.second, magnitude, roundings),
                   work.op.table.isa, " ", work.op.name, ": d ", input.d, " values ",
                   static_cast<int>(input.values), " vector ", i, ": ", got.best, " ", got.second,
                   " not ", truth.best, " ", truth.second);
        if (input.values == Values::Integers) {  // nothing is rounded: ties are exact
            log.expect(equal(got, truth), work.op.table.isa, " ", work.op.name, ": d ", input.d,
                       " vector ", i, ": row ", got.row, " not ", truth.row);
        }
    }
}

}  // namespace

uint64_t check_op(const OpCase& op, AssignKernel* kernel, AssignKernel* reference, CheckLog& log) {
    const std::optional<Metric> metric = metric_of(op.name);
    Digest digest;
    if (!metric) return 0;
    for_each_tile_case(check_dims(), [&](const TileCase& input, Random& random) {
        std::vector<const float*> rows = input.queries;
        Floats bias = input.bias;
        rows.back() = rows.front();  // keys tie
        bias[rows.size() - 1] = bias[0];
        const float scale = random.below(2) == 0 ? -2.0f : -1.0f;
        check_case({op, input, rows, bias, *metric, scale}, kernel, reference, random, log, digest);
    });
    return digest.value();
}

}  // namespace nearcell::checks
