// Peak kernels: the arithmetic of a hot loop with every operand in a register, and reading with as
// little arithmetic as there is. What a machine reaches in them is the ceiling of every other
// operation of ops.def, which names the one it is compared with: the roofline that `nearcell bench
// kernels` prints. Never used for search.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nearcell {

// Enough accumulators for the longest registers and latencies, matrix tiles included; a kernel
// takes as many at a time as its instruction set has registers for.
constexpr size_t kPeakSums = 3072;

// sums[i] += the term of x and y, `rounds` times over, for kPeakSums sums. fma: x y, sub_fma:
// (x - y)^2, sub_abs_add: |x - y|. Error: rounds + 3 roundings of the terms' sum.
using PeakKernel = void(float x, float y, size_t rounds, float* sums);

// sums[i] += table[indices[i % 16]] modulo 256, `rounds` times over, for 4 * kPeakSums sums. Tables
// of 16 bytes, indices below 16.
using PeakLookupKernel = void(const uint8_t* table, const uint8_t* indices, size_t rounds,
                              uint8_t* sums);

// sums[i] += the sum of codes[j] * query[j] over the 16 bytes, `rounds` times over, for kPeakSums
// sums; rules of scan_int8 for the query's bytes.
using PeakProductKernel = void(const uint8_t* codes, const int8_t* query, size_t rounds,
                               int32_t* sums);

// The exclusive or of the words; count is a multiple of 64.
using PeakReadKernel = uint32_t(const uint32_t* words, size_t count);

}  // namespace nearcell
