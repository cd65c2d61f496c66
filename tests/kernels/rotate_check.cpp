// Fast rotations, forth and back.
#include <cmath>

#include "kernel_check.h"
#include "tile_case.h"

namespace nearcell::checks {

uint64_t check_op(const OpCase& op, RotateKernel* kernel, RotateKernel* reference, CheckLog& log) {
    Digest digest;
    Random random(61);
    for (const size_t d : check_dims()) {
        // Factors of about the size they have: rows of a transform are as long as d or half of it.
        const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(d)));
        Floats factors((kRotationRounds + 1) * d, Values::Plain, random);
        for (size_t i = 0; i < factors.size(); ++i)
            factors[i] *= scale;
        for (const Values values : {Values::Plain, Values::Mixed, Values::Large}) {
            for (const int inverse : {0, 1}) {
                const Floats x(d, values, random);
                Floats got = x, expected = x;
                kernel(factors.data(), d, inverse, got.data());
                reference(factors.data(), d, inverse, expected.data());
                double length = 0;
                for (size_t j = 0; j < d; ++j)
                    length += static_cast<double>(x[j]) * static_cast<double>(x[j]);
                // Steps lengthen by at most sqrt(2) each two, and no value is longer than the
                // whole.
                const size_t roundings = 4 * static_cast<size_t>(std::log2(d)) + 12;
                for (size_t j = 0; j < d; ++j) {
                    log.expect(near(got[j], expected[j], 2 * std::sqrt(length), roundings),
                               op.table.isa, " ", op.name, ": d ", d, " inverse ", inverse,
                               " value ", j, ": ", got[j], " not ", expected[j]);
                    digest.add(got[j]);
                }
            }
        }
    }
    return digest.value();
}

}  // namespace nearcell::checks
