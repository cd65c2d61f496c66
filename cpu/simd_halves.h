// Products of 16-bit integers: as simd.h, of which it is a part.
#pragma once

#include <nearcell/cpu/simd_bytes.h>

namespace {

// Of kLanes vectors four halves each: those of every second pair of vectors in `first`, the others
// in `second`.
struct Halves {
    IntBatch first, second;
};

// From lines of high and of low bytes, four a vector.
NEARCELL_INLINE Halves join_bytes(const uint32_t* high, const uint32_t* low) {
    const IntBatch h = IntBatch::load_unaligned(reinterpret_cast<const int32_t*>(high));
    const IntBatch l = IntBatch::load_unaligned(reinterpret_cast<const int32_t*>(low));
#if defined(__AVX512F__)
    return {_mm512_unpacklo_epi8(l, h), _mm512_unpackhi_epi8(l, h)};
#elif defined(__AVX2__)
    return {_mm256_unpacklo_epi8(l, h), _mm256_unpackhi_epi8(l, h)};
#elif defined(__SSE2__)
    return {_mm_unpacklo_epi8(l, h), _mm_unpackhi_epi8(l, h)};
#else
    const uint8x16_t x = vreinterpretq_u8_s32(l), y = vreinterpretq_u8_s32(h);
    return {vreinterpretq_s32_u8(vzip1q_u8(x, y)), vreinterpretq_s32_u8(vzip2q_u8(x, y))};
#endif
}

// Four halves, again and again.
NEARCELL_INLINE IntBatch repeat_halves(const int16_t* p) {
    int64_t four;
    std::memcpy(&four, p, sizeof four);
    return xsimd::bitwise_cast<IntBatch>(xsimd::batch<int64_t, NEARCELL_ARCH>(four));
}

// Sums of the products of Halves with four halves, two for each vector.
struct PairSums {
    IntBatch first = IntBatch(0), second = IntBatch(0);

    NEARCELL_INLINE static void add_products(IntBatch& sum, const IntBatch& x, const IntBatch& y) {
#if defined(__AVX512VNNI__)
        __m512i total = sum;
        asm("vpdpwssd %2, %1, %0"
            : "+v"(total)
            : "v"(static_cast<__m512i>(x)), "v"(static_cast<__m512i>(y)));
        sum = total;
#elif defined(__AVX512F__)
        __m512i total = _mm512_add_epi32(sum, _mm512_madd_epi16(x, y));
        asm("" : "+v"(total));
        sum = total;
#elif defined(__AVX2__)
        __m256i total = _mm256_add_epi32(sum, _mm256_madd_epi16(x, y));
        asm("" : "+x"(total));
        sum = total;
#elif defined(__SSE2__)
        sum = _mm_add_epi32(sum, _mm_madd_epi16(x, y));
#else
        const int16x8_t a = vreinterpretq_s16_s32(x), b = vreinterpretq_s16_s32(y);
        const int32x4_t low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
        sum = vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(a, b)));
#endif
    }
    NEARCELL_INLINE void add(const Halves& x, const IntBatch& four) {
        add_products(first, x.first, four);
        add_products(second, x.second, four);
    }
    // One sum a vector.
    NEARCELL_INLINE IntBatch total() const {
#if defined(__AVX512F__)
        const __m512 a = _mm512_castsi512_ps(first), b = _mm512_castsi512_ps(second);
        return _mm512_add_epi32(_mm512_castps_si512(_mm512_shuffle_ps(a, b, 0x88)),
                                _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0xdd)));
#elif defined(__AVX2__)
        return _mm256_hadd_epi32(first, second);
#elif defined(__SSE2__)
        const __m128 a = _mm_castsi128_ps(first), b = _mm_castsi128_ps(second);
        return _mm_add_epi32(_mm_castps_si128(_mm_shuffle_ps(a, b, 0x88)),
                             _mm_castps_si128(_mm_shuffle_ps(a, b, 0xdd)));
#else
        return vpaddq_s32(first, second);
#endif
    }
};

}  // namespace
