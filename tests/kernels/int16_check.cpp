// Products of 16-bit integers are exact, whatever the tile, with values up to the largest and sums
// near 32 bits.
#include <cmath>

#include "kernel_check.h"
#include "tile_case.h"

namespace nearcell::checks {
namespace {

// As long as 32,000 at most; alone in its vector a value may be that large.
std::vector<int16_t> draw_integers(size_t steps, Random& random) {
    const size_t used = 1 + random.below(4 * steps);
    const double largest = 32000 / std::sqrt(static_cast<double>(used));
    std::vector<int16_t> values(4 * steps, 0);
    for (size_t i = 0; i < used; ++i) {
        const double u =
            random.below(4) == 0 ? (random.below(2) == 0 ? 1.0 : -1.0) : 2 * random.uniform() - 1;
        values[random.below(values.size())] = static_cast<int16_t>(u * largest);
    }
    return values;
}

}  // namespace

uint64_t check_op(const OpCase& op, ScoresInt16Kernel* kernel, ScoresInt16Kernel* reference,
                  CheckLog& log) {
    Digest digest;
    Random random(73);
    for (const size_t steps : std::initializer_list<size_t>{1, 2, 15, 16, 17, 33, 98, 520}) {
        for (const size_t rows : std::initializer_list<size_t>{1, 16, 17, 32, 50, 64, 79}) {
            std::vector<uint32_t> blocks(blocks_for(rows) * steps * 2 * kBlock);
            for (size_t row = 0; row < rows; ++row) {
                const std::vector<int16_t> values = draw_integers(steps, random);
                uint32_t* const lane =
                    blocks.data() + row / kBlock * steps * 2 * kBlock + row % kBlock;
                for (size_t j = 0; j < values.size(); ++j) {
                    const uint32_t bits = static_cast<uint16_t>(values[j]);
                    lane[j / 4 * 2 * kBlock] |= bits >> 8 << j % 4 * 8;
                    lane[(j / 4 * 2 + 1) * kBlock] |= (bits & 255u) << j % 4 * 8;
                }
            }
            for (const size_t count : std::initializer_list<size_t>{1, 3, 6, 16, 21, 37}) {
                std::vector<std::vector<int16_t>> queries;
                std::vector<const int16_t*> pointers;
                for (size_t q = 0; q < count; ++q)
                    queries.push_back(draw_integers(steps, random));
                for (const auto& query : queries)
                    pointers.push_back(query.data());
                const size_t stride = rows + random.below(3);
                Floats got(count * stride), expected(count * stride);
                kernel(blocks.data(), rows, steps, pointers.data(), count, got.data(), stride);
                reference(blocks.data(), rows, steps, pointers.data(), count, expected.data(),
                          stride);
                for (size_t i = 0; i < count * stride; ++i) {
                    log.expect(got[i] == expected[i], op.table.isa, " ", op.name, ": ", steps,
                               " steps, query ", i / stride, " of ", count, ", row ", i % stride,
                               " of ", rows, ": ", got[i], " not ", expected[i]);
                    digest.add(got[i]);
                }
            }
        }
    }
    return digest.value();
}

}  // namespace nearcell::checks
