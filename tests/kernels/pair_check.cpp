// The keys of pairs of vectors and the matrix of scores.
#include <cstring>

#include "kernel_check.h"
#include "tile_case.h"

namespace nearcell::checks {

uint64_t check_op(const OpCase& op, PairKernel* kernel, PairKernel* reference, CheckLog& log) {
    const std::optional<Metric> metric = metric_of(op.name);
    Digest digest;
    if (!metric) return 0;
    Random random(11);
    for (const size_t d : check_dims()) {
        for (const Values values : kAllValues) {
            const Floats a(d, values, random), b(d, values, random);
            const float got = kernel(a.data(), b.data(), d);
            const float expected = reference(a.data(), b.data(), d);
            double magnitude = 0;
            for (size_t j = 0; j < d; ++j)
                magnitude += term(*metric, a[j], b[j]);
            log.expect(near(got, expected, magnitude, d / 32 + 7), op.table.isa, " ", op.name,
                       ": d ", d, " values ", static_cast<int>(values), ": ", got, " not ",
                       expected, ", terms ", magnitude);
            log.expect(same_bits(got, kernel(b.data(), a.data(), d)), op.table.isa, " ", op.name,
                       ": d ", d, " is not symmetric");
            digest.add(got);
        }
    }
    return digest.value();
}

uint64_t check_op(const OpCase& op, ScoresKernel* kernel, ScoresKernel* reference, CheckLog& log) {
    const std::optional<Metric> metric = metric_of(op.name);
    Digest digest;
    if (!metric) return 0;
    constexpr float kUntouched = 12345.5f;
    for_each_tile_case(check_dims(), [&](const TileCase& input, Random& random) {
        const size_t rows = input.rows() - random.below(kBlock);
        const size_t stride = rows + random.below(6);
        std::vector<float> got(input.query_count * stride + 1, kUntouched), expected = got;
        kernel(input.blocks.data(), rows, input.d, input.queries.data(), input.query_count,
               got.data() + 1, stride);
        reference(input.blocks.data(), rows, input.d, input.queries.data(), input.query_count,
                  expected.data() + 1, stride);
        log.expect(got[0] == kUntouched, op.table.isa, " ", op.name, " writes before its output");
        for (size_t q = 0; q < input.query_count; ++q) {
            const float* line = got.data() + 1 + q * stride;
            for (size_t row = 0; row < rows; ++row) {
                const float want = expected[1 + q * stride + row];
                log.expect(near(line[row], want, input.magnitude(*metric, q, row), input.d + 2),
                           op.table.isa, " ", op.name, ": d ", input.d, " rows ", rows, " query ",
                           q, " row ", row, ": ", line[row], " not ", want);
                digest.add(line[row]);
            }
            for (size_t row = rows; row < stride; ++row) {
                log.expect(line[row] == kUntouched, op.table.isa, " ", op.name,
                           " writes past its rows: d ", input.d, " rows ", rows);
            }
        }
    });
    return digest.value();
}

}  // namespace nearcell::checks
