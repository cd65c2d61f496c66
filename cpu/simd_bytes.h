// Integers, and products of bytes: as simd.h, of which it is a part.
#pragma once

#include <nearcell/cpu/simd.h>

namespace {

using IntBatch = xsimd::batch<int32_t, NEARCELL_ARCH>;

// Sixteen integers.
struct I32x16 {
    IntBatch part[kParts];
};

NEARCELL_INLINE F32x16 to_float(const I32x16& x) {
    return each_part([&](auto i)
                         __attribute__((always_inline)) { return xsimd::to_float(x.part[i]); });
}

// Lines at a time: as many as are added up in 16 bits before they are widened.
#if (defined(__AVX512F__) && !defined(__AVX512VNNI__)) || \
    (defined(__AVX2__) && !defined(__AVX512F__))
constexpr size_t kProductLines = 4;
#else
constexpr size_t kProductLines = 1;
#endif
constexpr int kLargestPair = 128 / static_cast<int>(kProductLines);

// Adds to the lanes of NB parts of blocks the products of their unsigned bytes, of some lines, with
// the query's signed bytes, four a line. The magnitudes of two neighbours of these add up to at
// most kLargestPair: then their products, of kProductLines lines, fit into 16 bits.
template <size_t kLines, size_t NB>
NEARCELL_INLINE void add_products(IntBatch (&sums)[NB], const WordBatch (&codes)[kLines][NB],
                                  const uint8_t* query) {
    WordBatch bytes[kLines];
    unroll<kLines>([&](auto line) __attribute__((always_inline)) {
        uint32_t four;
        std::memcpy(&four, query + line * 4, sizeof four);
        bytes[line] = WordBatch(four);
    });
    unroll<NB>([&](auto b) __attribute__((always_inline)) {
#if defined(__AVX512VNNI__)
        // As an instruction: g++ 12 copies the accumulator around the intrinsic's.
        __m512i sum = sums[b];
        unroll<kLines>([&](auto line) __attribute__((always_inline)) {
            asm("vpdpbusd %2, %1, %0"
                : "+v"(sum)
                : "v"(static_cast<__m512i>(codes[line][b])),
                  "v"(static_cast<__m512i>(bytes[line])));
        });
        sums[b] = sum;
#elif defined(__AVX512F__)
        __m512i pairs;
        unroll<kLines>([&](auto line) __attribute__((always_inline)) {
            const __m512i products = _mm512_maddubs_epi16(codes[line][b], bytes[line]);
            pairs = line == 0 ? products : _mm512_add_epi16(pairs, products);
            asm("" : "+v"(pairs));  // else g++ adds in an order that needs more registers
        });
        __m512i sum = _mm512_add_epi32(sums[b], _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
        asm("" : "+v"(sum));
        sums[b] = sum;
#elif defined(__AVX2__)
        __m256i pairs;
        unroll<kLines>([&](auto line) __attribute__((always_inline)) {
            const __m256i products = _mm256_maddubs_epi16(codes[line][b], bytes[line]);
            pairs = line == 0 ? products : _mm256_add_epi16(pairs, products);
            asm("" : "+x"(pairs));  // else g++ adds in an order that needs more registers
        });
        __m256i sum = _mm256_add_epi32(sums[b], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        asm("" : "+x"(sum));
        sums[b] = sum;
#elif defined(__SSE2__)
        unroll<kLines>([&](auto line) __attribute__((always_inline)) {
            const __m128i x = codes[line][b], y = bytes[line];
            const __m128i even = _mm_and_si128(x, _mm_set1_epi16(255)), odd = _mm_srli_epi16(x, 8);
            const __m128i even_bytes = _mm_srai_epi16(_mm_slli_epi16(y, 8), 8);
            const __m128i sum = _mm_add_epi32(_mm_madd_epi16(even, even_bytes),
                                              _mm_madd_epi16(odd, _mm_srai_epi16(y, 8)));
            sums[b] = _mm_add_epi32(sums[b], sum);
        });
#else
        unroll<kLines>([&](auto line) __attribute__((always_inline)) {
            const uint8x16_t x = vreinterpretq_u8_u32(codes[line][b]);
            const int8x16_t y = vreinterpretq_s8_u32(bytes[line]);
            const int16x8_t low = vmulq_s16(vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(x))),
                                            vmovl_s8(vget_low_s8(y)));
            const int16x8_t high = vmulq_s16(vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(x))),
                                             vmovl_s8(vget_high_s8(y)));
            sums[b] = vaddq_s32(sums[b], vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
        });
#endif
    });
}

}  // namespace
