// Peak kernels: what they compute is known, so that none of it can have been optimised away.
#include <cmath>

#include "kernel_check.h"
#include "tile_case.h"

namespace nearcell::checks {

uint64_t check_op(const OpCase& op, PeakKernel* kernel, PeakKernel* reference, CheckLog& log) {
    Digest digest;
    Random random(71);
    for (const size_t rounds : std::initializer_list<size_t>{0, 1, 2, 33}) {
        for (const Values values : {Values::Plain, Values::Mixed, Values::Large}) {
            const Floats sums(kPeakSums, values, random);
            const float x = draw(values, random), y = draw(values, random);
            Floats got = sums, expected = sums;
            kernel(x, y, rounds, got.data());
            reference(x, y, rounds, expected.data());
            for (size_t i = 0; i < kPeakSums; ++i) {
                // The terms are all of one sign.
                const double terms =
                    std::fabs(static_cast<double>(expected[i]) - static_cast<double>(sums[i]));
                const double magnitude = terms + 2 * std::fabs(static_cast<double>(sums[i]));
                log.expect(near(got[i], expected[i], magnitude, rounds + 3), op.table.isa, " ",
                           op.name, ": ", rounds, " rounds, sum ", i, ": ", got[i], " not ",
                           expected[i]);
                digest.add(got[i]);
            }
        }
    }
    return digest.value();
}

uint64_t check_op(const OpCase& op, PeakLookupKernel* kernel, PeakLookupKernel* reference,
                  CheckLog& log) {
    Digest digest;
    Random random(73);
    for (const size_t rounds : std::initializer_list<size_t>{0, 1, 2, 300}) {
        uint8_t table[16], indices[16];
        for (size_t i = 0; i < 16; ++i) {
            table[i] = static_cast<uint8_t>(random.below(256));
            indices[i] = static_cast<uint8_t>(random.below(16));
        }
        std::vector<uint8_t> got(4 * kPeakSums);
        for (uint8_t& sum : got)
            sum = static_cast<uint8_t>(random.below(256));
        std::vector<uint8_t> expected = got;
        kernel(table, indices, rounds, got.data());
        reference(table, indices, rounds, expected.data());
        log.expect(got == expected, op.table.isa, " ", op.name, ": other sums after ", rounds,
                   " rounds");
        for (const uint8_t sum : got)
            digest.add(uint32_t{sum});
    }
    return digest.value();
}

uint64_t check_op(const OpCase& op, PeakProductKernel* kernel, PeakProductKernel* reference,
                  CheckLog& log) {
    Digest digest;
    Random random(83);
    for (const size_t rounds : std::initializer_list<size_t>{0, 1, 2, 300}) {
        uint8_t codes[16];
        int8_t query[16];
        for (size_t i = 0; i < 16; ++i) {
            codes[i] = static_cast<uint8_t>(random.below(256));
            query[i] = static_cast<int8_t>(static_cast<int>(random.below(33)) - 16);
        }
        std::vector<int32_t> got(kPeakSums);
        for (int32_t& sum : got)
            sum = static_cast<int32_t>(random.below(1000));
        std::vector<int32_t> expected = got;
        kernel(codes, query, rounds, got.data());
        reference(codes, query, rounds, expected.data());
        log.expect(got == expected, op.table.isa, " ", op.name, ": other sums after ", rounds,
                   " rounds");
        for (const int32_t sum : got)
            digest.add(static_cast<uint32_t>(sum));
    }
    return digest.value();
}

uint64_t check_op(const OpCase& op, PeakReadKernel* kernel, PeakReadKernel* reference,
                  CheckLog& log) {
    Digest digest;
    Random random(79);
    for (const size_t count : std::initializer_list<size_t>{0, 64, 128, 640}) {
        std::vector<uint32_t> words(count);
        for (uint32_t& word : words)
            word = static_cast<uint32_t>(random.next());
        const uint32_t got = kernel(words.data(), count), expected = reference(words.data(), count);
        log.expect(got == expected, op.table.isa, " ", op.name, ": ", got, " not ", expected,
                   " of ", count, " words");
        digest.add(got);
    }
    return digest.value();
}

}  // namespace nearcell::checks
