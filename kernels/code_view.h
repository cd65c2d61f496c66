// CodeView: how the codes of stored vectors are to be read, as plain pointers, for kernels of any
// device. A vector's code is `words` 32-bit words. Codes are stored in blocks of 16 vectors, word
// by word: block[w][v] is word w of vector v, so a block is words * 64 bytes and one word of 16
// vectors is one 64-byte line. The same layout serves memory, files and devices. Lanes past the
// last vector of a cell are zero.
//
// clang-format off
//   kind         words                 meaning of a vector's words
//   Float32      d                     the values
//   Float16      ceil(d/2)             pairs of binary16, even dimension in the low half
//   BFloat16     ceil(d/2)             pairs of bfloat16, likewise
//   RangeInt8    ceil(d/4) [+ 2]       bytes c, dimension 4w in the lowest: x_j = offset_j + step_j c;
//                                      with `factors`, floats term = |x - m|^2, of a residual x as
//                                      Bits' (0 for inner products), and error = the length of
//                                      (x - m) / step, of a residual x / step (m: Refinement's)
//   ScaledInt8   ceil(d/4) + 1         signed bytes c, then the float scale s: x_j = s c_j
//   Product8     ceil(M/4)             bytes c_m: centroid c_m of codebook m
//   Product4     ceil(M/8)             nibbles, subquantizer 2i in the low half of byte i
//   Bits         bits ceil(d/32) + 4   bit planes, most significant first, dimension 32w + b in bit b
//                or ceil(d/32) + 2     of word w; then floats scale, bias, error, term, where bits = 1
//                                      as pairs of bfloat16, scale and error in the low halves:
//                                      u_j = code_j - (2^bits - 1) / 2, x_j = scale u_j,
//                                      |q - x|^2 estimated as |q - scale u|^2 + bias; of a residual
//                                      x, also as |q - c|^2 + term - 2 scale <q - m, u>, c being the
//                                      cell's centroid and m the mean of all (see ScanJob::refine);
//                                      for inner products -<q, c + x> as -<q, c> + term - scale <q - m, u>
// clang-format on
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace nearcell {

constexpr size_t kBlock = 16;  // vectors a block

enum class CodeKind : uint32_t {
    Float32 = 0,
    Float16 = 1,
    BFloat16 = 2,
    RangeInt8 = 3,
    ScaledInt8 = 4,
    Product8 = 5,
    Product4 = 6,
    Bits = 7,
};

constexpr size_t kInt8Factors = 2;        // floats at the end of a RangeInt8 code that is scanned
constexpr size_t kMostLookupLines = 128;  // lines of nibbles that scans by look-ups take

struct CodeView {
    CodeKind kind = CodeKind::Float32;
    size_t dim = 0;
    size_t words = 0;                     // 32-bit words a vector
    size_t bits = 0;                      // Bits: 1 to 8
    bool factors = false;                 // RangeInt8: a code ends in kInt8Factors floats
    const float* offset = nullptr;        // RangeInt8: d
    const float* step = nullptr;          // RangeInt8: d
    size_t subquantizers = 0;             // Product*: M
    const uint32_t* sub_begin = nullptr;  // Product*: M + 1 first dimensions of the subspaces
    size_t sub_width = 0;                 // Product*: dimensions of all of them; 0: they differ
    const float* codebooks =
        nullptr;  // Product*: codebook m is [ksub][dsub_m] at ksub * sub_begin[m]

    size_t block_bytes() const { return words * 4 * kBlock; }
};

enum class BitsFactor : size_t { Scale = 0, Bias = 1, Error = 2, Term = 3 };

// Words of the factors at the end of a Bits code. Halves do for one bit, whose estimates err by far
// more: 24 bytes to scan instead of 32 at 128 dimensions.
constexpr size_t bits_factor_words(size_t bits) { return bits == 1 ? 2 : 4; }

// A factor of one vector; word i of its factors is factors[i * stride].
inline float bits_factor(const uint32_t* factors, size_t stride, size_t bits, BitsFactor which) {
    const size_t place = static_cast<size_t>(which);
    if (bits != 1) return std::bit_cast<float>(factors[place * stride]);
    const uint32_t pair = factors[place / 2 * stride];
    return std::bit_cast<float>(place % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
}

// Of one bit, the value must be a bfloat16 already: how to round it is the caller's to say.
inline void set_bits_factor(uint32_t* factors, size_t bits, BitsFactor which, float value) {
    const size_t place = static_cast<size_t>(which);
    const uint32_t word = std::bit_cast<uint32_t>(value);
    if (bits != 1) {
        factors[place] = word;
        return;
    }
    uint32_t& pair = factors[place / 2];
    pair = place % 2 == 0 ? (pair & 0xffff0000u) | word >> 16 : (pair & 0xffffu) | word;
}

constexpr size_t blocks_for(size_t vectors) { return (vectors + kBlock - 1) / kBlock; }

}  // namespace nearcell
