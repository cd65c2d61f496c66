// The façade over xsimd: everything a kernel may use. The unit is F32x16, sixteen floats: one
// AVX-512 register, two AVX2, four SSE2 or NEON. One source thus serves every instruction set, and
// a block of sixteen vectors is one F32x16 a dimension. What xsimd 8.1 lacks or does slowly is
// filled in with intrinsics here, and nowhere else but in the parts simd_*.h and, for tiles,
// matrix_tiles.h. Included by kernels_*.cpp only; all in an anonymous namespace, so that objects of
// different instruction sets share no symbol.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <xsimd/xsimd.hpp>

#define NEARCELL_INLINE inline __attribute__((always_inline))
#define NEARCELL_JOIN_(a, b, c) a##b##_##c
#define NEARCELL_JOIN(a, b, c) NEARCELL_JOIN_(a, b, c)
// The one exported symbol of an object: fill_<theme>_<isa>(KernelTable&).
#define NEARCELL_FILL(theme) NEARCELL_JOIN(fill_, theme, NEARCELL_ISA)

namespace {

// Calls f(integral_constant<size_t, 0>) ... f(integral_constant<size_t, N - 1>), fully expanded.
// g++ 12 spills arrays of accumulators that are walked by an ordinary loop.
template <size_t N, class F>
NEARCELL_INLINE void unroll(F&& f) {
    [&]<size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
        (f(std::integral_constant<size_t, I>{}), ...);
    }
    (std::make_index_sequence<N>{});
}

using Batch = xsimd::batch<float, NEARCELL_ARCH>;
constexpr size_t kLanes = Batch::size;
constexpr size_t kParts = 16 / kLanes;

struct F32x16 {
    Batch part[kParts];
};

template <class F>
NEARCELL_INLINE F32x16 each_part(F&& f) {
    F32x16 r;
    unroll<kParts>([&](auto i) __attribute__((always_inline)) { r.part[i] = f(i); });
    return r;
}

NEARCELL_INLINE F32x16 load(const float* p) {
    return each_part([&](auto i) __attribute__((always_inline)) {
        return Batch::load_unaligned(p + i * kLanes);
    });
}
NEARCELL_INLINE void store(float* p, const F32x16& x) {
    unroll<kParts>([&](auto i) __attribute__((always_inline)) {
        x.part[i].store_unaligned(p + i * kLanes);
    });
}
NEARCELL_INLINE F32x16 broadcast(float x) {
    const Batch b(x);
    return each_part([&](auto) __attribute__((always_inline)) { return b; });
}
NEARCELL_INLINE F32x16 add(const F32x16& a, const F32x16& b) {
    return each_part([&](auto i) __attribute__((always_inline)) { return a.part[i] + b.part[i]; });
}
NEARCELL_INLINE F32x16 sub(const F32x16& a, const F32x16& b) {
    return each_part([&](auto i) __attribute__((always_inline)) { return a.part[i] - b.part[i]; });
}
NEARCELL_INLINE F32x16 mul(const F32x16& a, const F32x16& b) {
    return each_part([&](auto i) __attribute__((always_inline)) { return a.part[i] * b.part[i]; });
}
// Lane by lane a < b ? a : b and a > b ? a : b: b where either is NaN, as x86's instructions do.
// NEON's give NaN, so it compares and selects.
NEARCELL_INLINE F32x16 min(const F32x16& a, const F32x16& b) {
    return each_part([&](auto i) __attribute__((always_inline)) {
#if defined(__aarch64__)
        return xsimd::select(a.part[i] < b.part[i], a.part[i], b.part[i]);
#else
        return xsimd::min(a.part[i], b.part[i]);
#endif
    });
}
NEARCELL_INLINE F32x16 max(const F32x16& a, const F32x16& b) {
    return each_part([&](auto i) __attribute__((always_inline)) {
#if defined(__aarch64__)
        return xsimd::select(a.part[i] > b.part[i], a.part[i], b.part[i]);
#else
        return xsimd::max(a.part[i], b.part[i]);
#endif
    });
}
NEARCELL_INLINE Batch abs_part(const Batch& a) { return xsimd::abs(a); }
NEARCELL_INLINE F32x16 abs(const F32x16& a) {
    return each_part([&](auto i) __attribute__((always_inline)) { return abs_part(a.part[i]); });
}
// a * b + c, fused where the instruction set can. xsimd 8.1's avx512 form is not fused.
NEARCELL_INLINE Batch fma_part(const Batch& a, const Batch& b, const Batch& c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#else
    return xsimd::fma(a, b, c);
#endif
}
NEARCELL_INLINE F32x16 fma(const F32x16& a, const F32x16& b, const F32x16& c) {
    return each_part([&](auto i) __attribute__((always_inline)) {
        return fma_part(a.part[i], b.part[i], c.part[i]);
    });
}
// Lane by lane a < b ? x : y.
NEARCELL_INLINE F32x16 select_less(const F32x16& a, const F32x16& b, const F32x16& x,
                                   const F32x16& y) {
    return each_part([&](auto i) __attribute__((always_inline)) {
        return xsimd::select(a.part[i] < b.part[i], x.part[i], y.part[i]);
    });
}

// Lane i of the result is lane i ^ H.
template <int H>
NEARCELL_INLINE F32x16 swap_lanes(const F32x16& x) {
    static_assert(H == 1 || H == 2 || H == 4 || H == 8);
#if defined(__AVX512F__)
    if constexpr (H == 1) return {_mm512_permute_ps(x.part[0], 0xb1)};
    if constexpr (H == 2) return {_mm512_permute_ps(x.part[0], 0x4e)};
    if constexpr (H == 4) return {_mm512_shuffle_f32x4(x.part[0], x.part[0], 0xb1)};
    if constexpr (H == 8) return {_mm512_shuffle_f32x4(x.part[0], x.part[0], 0x4e)};
#else
    constexpr size_t kPartsApart = static_cast<size_t>(H) / kLanes;
    return each_part([&](auto i) __attribute__((always_inline)) {
        if constexpr (kPartsApart > 0)
            return x.part[i ^ kPartsApart];
#if defined(__AVX2__)
        else if constexpr (H == 4)
            return Batch(_mm256_permute2f128_ps(x.part[i], x.part[i], 1));
        else
            return Batch(_mm256_permute_ps(x.part[i], H == 1 ? 0xb1 : 0x4e));
#elif defined(__SSE2__)
        else
            return Batch(_mm_shuffle_ps(x.part[i], x.part[i], H == 1 ? 0xb1 : 0x4e));
#else
        else if constexpr (H == 1)
            return Batch(vrev64q_f32(x.part[i]));
        else
            return Batch(vextq_f32(x.part[i], x.part[i], 2));
#endif
    });
#endif
}

// Bit i is set where a <= b in lane i; a NaN sets none.
NEARCELL_INLINE unsigned less_equal_mask(const F32x16& a, const F32x16& b) {
    unsigned mask = 0;
    unroll<kParts>([&](auto i) __attribute__((always_inline)) {
#if defined(__AVX512F__)
        mask |= static_cast<unsigned>(_mm512_cmp_ps_mask(a.part[i], b.part[i], _CMP_LE_OQ));
#elif defined(__AVX2__)
        mask |= static_cast<unsigned>(
                    _mm256_movemask_ps(_mm256_cmp_ps(a.part[i], b.part[i], _CMP_LE_OQ)))
                << (i * kLanes);
#elif defined(__SSE2__)
        mask |= static_cast<unsigned>(_mm_movemask_ps(_mm_cmple_ps(a.part[i], b.part[i])))
                << (i * kLanes);
#else
        const uint32x4_t weights = {1, 2, 4, 8};
        mask |= vaddvq_u32(vandq_u32(vcleq_f32(a.part[i], b.part[i]), weights)) << (i * kLanes);
#endif
    });
    return mask;
}

// The numbers of the mask's lanes, the first of which is `first`; there is room for sixteen.
NEARCELL_INLINE uint32_t* append_lanes(unsigned mask, uint32_t first, uint32_t* end) {
#if defined(__AVX512F__)
    const __m512i lanes =
        _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(first)),
                         _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    // Not compressed into memory, which some processors do slowly.
    _mm512_storeu_si512(end, _mm512_maskz_compress_epi32(static_cast<__mmask16>(mask), lanes));
    return end + __builtin_popcount(mask);
#else
    for (; mask != 0; mask &= mask - 1)
        *end++ = first + static_cast<uint32_t>(__builtin_ctz(mask));
    return end;
#endif
}

// Sum of the lanes by one fixed tree: lane i + lane i + 8, then + 4, + 2, + 1.
NEARCELL_INLINE float reduce_tree(const F32x16& x) {
#if defined(__SSE2__)
#if defined(__AVX512F__)
    const __m256 eight = _mm256_add_ps(
        _mm512_castps512_ps256(x.part[0]),
        _mm256_castsi256_ps(_mm512_extracti64x4_epi64(_mm512_castps_si512(x.part[0]), 1)));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
#elif defined(__AVX2__)
    const __m256 eight = _mm256_add_ps(x.part[0], x.part[1]);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
#else
    const __m128 four =
        _mm_add_ps(_mm_add_ps(x.part[0], x.part[2]), _mm_add_ps(x.part[1], x.part[3]));
#endif
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
#else
    const float32x4_t four =
        vaddq_f32(vaddq_f32(x.part[0], x.part[2]), vaddq_f32(x.part[1], x.part[3]));
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
#endif
}

// ---- the 32-bit words of sixteen vectors ----

using WordBatch = xsimd::batch<uint32_t, NEARCELL_ARCH>;

struct U32x16 {
    WordBatch part[kParts];
};

template <class F>
NEARCELL_INLINE U32x16 each_word_part(F&& f) {
    U32x16 r;
    unroll<kParts>([&](auto i) __attribute__((always_inline)) { r.part[i] = f(i); });
    return r;
}
NEARCELL_INLINE U32x16 load_words(const uint32_t* p) {
    return each_word_part([&](auto i) __attribute__((always_inline)) {
        return WordBatch::load_unaligned(p + i * kLanes);
    });
}
NEARCELL_INLINE void store_words(uint32_t* p, const U32x16& x) {
    unroll<kParts>([&](auto i) __attribute__((always_inline)) {
        x.part[i].store_unaligned(p + i * kLanes);
    });
}
NEARCELL_INLINE U32x16 broadcast_word(uint32_t x) {
    const WordBatch b(x);
    return each_word_part([&](auto) __attribute__((always_inline)) { return b; });
}
// (words >> shift) & mask
NEARCELL_INLINE U32x16 bits_at(const U32x16& words, int shift, uint32_t mask) {
    const WordBatch m(mask);
    return each_word_part([&](auto i) __attribute__((always_inline)) {
        return (words.part[i] >> shift) & m;
    });
}
NEARCELL_INLINE U32x16 shift_left(const U32x16& words, int shift) {
    return each_word_part([&](auto i)
                              __attribute__((always_inline)) { return words.part[i] << shift; });
}
NEARCELL_INLINE U32x16 bit_or(const U32x16& a, const U32x16& b) {
    return each_word_part([&](auto i)
                              __attribute__((always_inline)) { return a.part[i] | b.part[i]; });
}
NEARCELL_INLINE U32x16 bit_xor(const U32x16& a, const U32x16& b) {
    return each_word_part([&](auto i)
                              __attribute__((always_inline)) { return a.part[i] ^ b.part[i]; });
}
// Integers below 2^31 to float.
NEARCELL_INLINE F32x16 to_float(const U32x16& words) {
    return each_part([&](auto i) __attribute__((always_inline)) {
        return xsimd::to_float(
            xsimd::bitwise_cast<xsimd::batch<int32_t, NEARCELL_ARCH>>(words.part[i]));
    });
}
// The words' bits read as floats.
NEARCELL_INLINE F32x16 as_float(const U32x16& words) {
    return each_part([&](auto i) __attribute__((always_inline)) {
        return xsimd::bitwise_cast<Batch>(words.part[i]);
    });
}
// Lane by lane a < b ? x : y.
NEARCELL_INLINE U32x16 select_less(const F32x16& a, const F32x16& b, const U32x16& x,
                                   const U32x16& y) {
    const F32x16 chosen = select_less(a, b, as_float(x), as_float(y));
    return each_word_part([&](auto i) __attribute__((always_inline)) {
        return xsimd::bitwise_cast<WordBatch>(chosen.part[i]);
    });
}
// The low half of each word, a binary16, to float.
NEARCELL_INLINE F32x16 half_to_float(const U32x16& words) {
#if defined(__AVX512F__)
    return {_mm512_cvtph_ps(_mm512_cvtepi32_epi16(words.part[0]))};
#elif defined(__AVX2__)
    return each_part([&](auto i) __attribute__((always_inline)) {
        const __m256i low = _mm256_and_si256(words.part[i], _mm256_set1_epi32(0xffff));
        const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0x08);
        return Batch(_mm256_cvtph_ps(_mm256_castsi256_si128(packed)));
    });
#elif defined(__aarch64__)
    return each_part([&](auto i) __attribute__((always_inline)) {
        return Batch(vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(words.part[i]))));
    });
#else
    // Shift exponent and fraction into place and rescale by 2^112, which also makes subnormals
    // right; infinities and NaN get the exponent that the multiplication cannot give them.
    const U32x16 rest = shift_left(bits_at(words, 0, 0x7fffu), 13);
    const U32x16 sign = shift_left(bits_at(words, 15, 1u), 31);
    const F32x16 scaled = mul(as_float(rest), broadcast(0x1p112f));
    const F32x16 special =
        as_float(bit_or(rest, each_word_part([](auto) { return WordBatch(0x7f800000u); })));
    const F32x16 magnitude = select_less(scaled, broadcast(65536.0f), scaled,
                                         add(special, special));  // the sum makes NaN quiet
    return each_part([&](auto i) __attribute__((always_inline)) {
        return magnitude.part[i] | xsimd::bitwise_cast<Batch>(sign.part[i]);
    });
#endif
}

// Sixteen bytes or halves, each widened to a word.
NEARCELL_INLINE U32x16 load_bytes(const uint8_t* p) {
#if defined(__AVX512F__)
    return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
#elif defined(__AVX2__)
    return each_word_part([&](auto i) __attribute__((always_inline)) {
        return WordBatch(
            _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + i * 8))));
    });
#else
    uint32_t words[16];
    for (size_t i = 0; i < 16; ++i)
        words[i] = p[i];
    return load_words(words);
#endif
}
// The bytes of four words, each widened; a word every `stride`.
NEARCELL_INLINE U32x16 load_bytes_apart(const uint32_t* p, size_t stride) {
#if defined(__AVX2__)
    const auto word = [&](size_t i) __attribute__((always_inline)) {
        return static_cast<int>(p[i * stride]);
    };
#endif
#if defined(__AVX512F__)
    return {_mm512_cvtepu8_epi32(_mm_setr_epi32(word(0), word(1), word(2), word(3)))};
#elif defined(__AVX2__)
    return each_word_part([&](auto i) __attribute__((always_inline)) {
        return WordBatch(_mm256_cvtepu8_epi32(_mm_setr_epi32(word(2 * i), word(2 * i + 1), 0, 0)));
    });
#else
    const uint32_t words[4] = {p[0], p[stride], p[2 * stride], p[3 * stride]};
    return load_bytes(reinterpret_cast<const uint8_t*>(words));
#endif
}
NEARCELL_INLINE U32x16 load_halves(const uint16_t* p) {
#if defined(__AVX512F__)
    return {_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
#elif defined(__AVX2__)
    return each_word_part([&](auto i) __attribute__((always_inline)) {
        return WordBatch(
            _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i * 8))));
    });
#else
    uint32_t words[16];
    for (size_t i = 0; i < 16; ++i)
        words[i] = p[i];
    return load_words(words);
#endif
}
// Stores sixteen numbers in [0, 255], rounded to the nearest (ties to even), as bytes.
NEARCELL_INLINE void store_bytes(uint8_t* p, const F32x16& x) {
#if defined(__AVX512F__)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x.part[0])));
#elif defined(__AVX2__)
    const __m256i halves = _mm256_permute4x64_epi64(
        _mm256_packus_epi32(_mm256_cvtps_epi32(x.part[0]), _mm256_cvtps_epi32(x.part[1])), 0xd8);
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(p),
        _mm_packus_epi16(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1)));
#else
    // Adding 1.5 x 2^23 rounds, and leaves the integer at the end of the fraction.
    float shifted[16];
    store(shifted, add(x, broadcast(0x1.8p23f)));
    for (size_t i = 0; i < 16; ++i) {
        uint32_t bits;
        std::memcpy(&bits, &shifted[i], sizeof bits);
        p[i] = static_cast<uint8_t>(bits);
    }
#endif
}

}  // namespace
