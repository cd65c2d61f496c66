// Lane minima and what passes a bound, keys of every kind included.
#include <algorithm>
#include <cmath>

#include "kernel_check.h"
#include "tile_case.h"

namespace nearcell::checks {

uint64_t check_op(const OpCase& op, LaneMinimaKernel* kernel, LaneMinimaKernel* reference,
                  CheckLog& log) {
    Digest digest;
    Random random(53);
    for (const size_t lanes : std::initializer_list<size_t>{16, 32, 48, 144}) {
        for (const size_t turns : std::initializer_list<size_t>{1, 2, 5}) {
            for (const Values values : kAllValues) {
                const size_t count = lanes * turns;
                const Floats keys(count, values, random), bias(count, Values::Plain, random);
                for (const float* add : {static_cast<const float*>(nullptr), bias.data()}) {
                    Floats got = keys, expected = keys;
                    Floats minima(lanes), expected_minima(lanes);
                    kernel(got.data(), count, add, 2.0f, lanes, minima.data());
                    reference(expected.data(), count, add, 2.0f, lanes, expected_minima.data());
                    for (size_t i = 0; i < count; ++i) {
                        const double magnitude = 2 * std::fabs(static_cast<double>(keys[i])) +
                                                 std::fabs(static_cast<double>(bias[i]));
                        log.expect(add == nullptr ? same_bits(got[i], keys[i])
                                                  : near(got[i], expected[i], magnitude, 2),
                                   op.table.isa, " ", op.name, ": key ", i, " of ", count, ": ",
                                   got[i], " not ", expected[i]);
                        digest.add(got[i]);
                    }
                    for (size_t lane = 0; lane < lanes; ++lane) {  // of its own keys
                        float least = std::numeric_limits<float>::infinity();
                        for (size_t i = lane; i < count; i += lanes)
                            least = got[i] < least ? got[i] : least;
                        log.expect(minima[lane] == least, op.table.isa, " ", op.name, ": lane ",
                                   lane, " of ", lanes, ": ", minima[lane], " not ", least);
                    }
                }
            }
        }
    }
    return digest.value();
}

uint64_t check_op(const OpCase& op, CollectRowsKernel* kernel, CollectRowsKernel* reference,
                  CheckLog& log) {
    Digest digest;
    Random random(59);
    for (size_t count = 16; count <= 160; count += 16) {
        for (const Values values : kAllValues) {
            const Floats keys(count, values, random);
            for (const float bound : {keys[random.below(count)], std::nanf(""),
                                      std::numeric_limits<float>::infinity()}) {
                std::vector<uint32_t> got(count + 1, 7777), expected(count);
                got.resize(kernel(keys.data(), count, bound, got.data()));
                expected.resize(reference(keys.data(), count, bound, expected.data()));
                log.expect(got == expected, op.table.isa, " ", op.name, ": ", got.size(), " of ",
                           count, " keys pass, ", expected.size(), " expected, or others");
                for (const uint32_t row : got)
                    digest.add(row);
            }
        }
    }
    return digest.value();
}

namespace {

// Some keys often, infinities and both zeros among them; none is NaN.
Floats keys_with_ties(size_t count, size_t different, Random& random) {
    Floats keys(count, Values::Plain, random);
    for (size_t i = 0; i < count; i += 1 + random.below(3))
        keys[i] = keys[random.below(different)];
    for (size_t i = random.below(8); i < count; i += 1 + random.below(16)) {
        keys[i] = std::initializer_list<float>{std::numeric_limits<float>::infinity(),
                                               -std::numeric_limits<float>::infinity(),
                                               0.0f,
                                               -0.0f,
                                               std::numeric_limits<float>::max(),
                                               1e-45f}
                      .begin()[random.below(6)];
    }
    return keys;
}

}  // namespace

uint64_t check_op(const OpCase& op, SmallestBoundKernel* kernel, SmallestBoundKernel* reference,
                  CheckLog& log) {
    Digest digest;
    Random random(61);
    for (size_t count = 16; count <= 320; count += 16) {
        for (const size_t different : {size_t{1}, size_t{4}, count}) {
            const Floats keys = keys_with_ties(count, different, random);
            for (size_t wanted = 1; wanted <= count; wanted += 1 + random.below(7)) {
                const float bound = kernel(keys.data(), count, wanted);
                const float least = reference(keys.data(), count, wanted);
                size_t met = 0;
                for (size_t i = 0; i < count; ++i)
                    met += keys[i] <= bound;
                log.expect(bound == least || (bound > least && met == wanted), op.table.isa, " ",
                           op.name, ": ", met, " of ", count, " keys for ", wanted, " wanted, ",
                           bound, " for ", least);
                digest.add(bound);
            }
        }
    }
    return digest.value();
}

uint64_t check_op(const OpCase& op, RankKeysKernel* kernel, RankKeysKernel* reference,
                  CheckLog& log) {
    Digest digest;
    Random random(67);
    for (size_t count = 16; count <= 320; count += 16) {
        for (const size_t different : {size_t{1}, size_t{4}, count}) {
            const Floats keys = keys_with_ties(count, different, random);
            std::vector<uint32_t> got(count, 7777), expected(count);
            kernel(keys.data(), count, got.data());
            reference(keys.data(), count, expected.data());
            log.expect(got == expected, op.table.isa, " ", op.name, ": other ranks of ", count,
                       " keys");
            for (const uint32_t rank : got)
                digest.add(rank);
        }
    }
    return digest.value();
}

}  // namespace nearcell::checks
