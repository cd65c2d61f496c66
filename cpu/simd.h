// The façade over xsimd: everything a kernel may use. The unit is F32x16, sixteen floats: one
// AVX-512 register, two AVX2, four SSE2 or NEON. One source thus serves every instruction set, and
// a block of sixteen vectors is one F32x16 a dimension. What xsimd 8.1 lacks or does slowly is
// filled in with intrinsics here, and nowhere else (but for tiles: matrix_tiles.h). Included by
// kernels_*.cpp only; all in an anonymous namespace, so that objects of different instruction sets
// share no symbol.
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

// ---- products of bytes ----

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

// ---- products of 16-bit integers ----

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

// ---- look-ups of nibbles in tables of sixteen bytes ----
//
// A line is a word of sixteen vectors, eight nibbles each. Split, it is 128 bytes: four planes of
// the low nibbles of byte 0 to 3 of the sixteen words, then four of the high ones. The tables of a
// line are 128 bytes in the same order: those of nibbles 0, 2, 4, 6, then of 1, 3, 5, 7.

constexpr size_t kSplitLine = 128;

NEARCELL_INLINE void split_line(const uint32_t* line, uint8_t* planes) {
#if defined(__AVX512F__)
    const __m512i within =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    const __m512i across = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i bytes =
        _mm512_permutexvar_epi32(across, _mm512_shuffle_epi8(_mm512_loadu_si512(line), within));
    const __m512i low = _mm512_set1_epi8(15);
    _mm512_storeu_si512(planes, _mm512_and_si512(bytes, low));
    _mm512_storeu_si512(planes + 64, _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low));
#elif defined(__AVX2__)
    const __m256i within = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    const __m256i across = _mm256_setr_epi32(0, 4, 2, 6, 1, 5, 3, 7);
    const auto sorted = [&](const uint32_t* p) __attribute__((always_inline)) {
        const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
        return _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(x, within), across);
    };
    const __m256i a = sorted(line), b = sorted(line + 8);
    const __m256i bytes[2] = {_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b)};
    const __m256i low = _mm256_set1_epi8(15);
    unroll<2>([&](auto i) __attribute__((always_inline)) {
        __m256i* to = reinterpret_cast<__m256i*>(planes + i * 32);
        _mm256_storeu_si256(to, _mm256_and_si256(bytes[i], low));
        _mm256_storeu_si256(to + 2, _mm256_and_si256(_mm256_srli_epi16(bytes[i], 4), low));
    });
#else
    for (size_t v = 0; v < 16; ++v) {
        for (size_t byte = 0; byte < 4; ++byte) {
            const uint32_t x = line[v] >> (byte * 8);
            planes[byte * 16 + v] = x & 15u;
            planes[64 + byte * 16 + v] = x >> 4 & 15u;
        }
    }
#endif
}

// Sums of look-ups for sixteen vectors, exact up to 65535. Entries are at most 31, so that those of
// two lines can be added as bytes before they are widened. Of each pair of bytes, `all` adds both
// as one 16-bit number and `odd` the upper one, which is taken out of `all` at the end.
struct LookupSums {
#if defined(__AVX512F__)
    __m512i all = _mm512_setzero_si512(), odd = _mm512_setzero_si512();
#elif defined(__AVX2__)
    __m256i all = _mm256_setzero_si256(), odd = _mm256_setzero_si256();
#elif defined(__aarch64__)
    uint16x8_t first = vdupq_n_u16(0), last = vdupq_n_u16(0);
#else
    uint16_t sums[16] = {};
#endif

    NEARCELL_INLINE F32x16 total() const {
#if defined(__AVX512F__)
        const __m512i even = _mm512_sub_epi16(all, _mm512_slli_epi16(odd, 8));
        const auto folded = [](__m512i x) __attribute__((always_inline)) {
            const __m256i two =
                _mm256_add_epi16(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
            return _mm_add_epi16(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
        };
        const __m128i e = folded(even), o = folded(odd);
        const __m256i both = _mm256_set_m128i(_mm_unpackhi_epi16(e, o), _mm_unpacklo_epi16(e, o));
        return {_mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(both))};
#elif defined(__AVX2__)
        const __m256i even = _mm256_sub_epi16(all, _mm256_slli_epi16(odd, 8));
        const auto folded = [](__m256i x) __attribute__((always_inline)) {
            return _mm_add_epi16(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
        };
        const __m128i e = folded(even), o = folded(odd);
        return {{Batch(_mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_unpacklo_epi16(e, o)))),
                 Batch(_mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_unpackhi_epi16(e, o))))}};
#else
        uint16_t values[16];
#if defined(__aarch64__)
        vst1q_u16(values, first);
        vst1q_u16(values + 8, last);
#else
        std::memcpy(values, sums, sizeof values);
#endif
        return to_float(load_halves(values));
#endif
    }
};

// Adds the look-ups of one line or two to the sums of NB blocks, whose planes lie `stride` bytes
// apart. A table at a time; the empty statements keep g++ from adding in another order, for which
// all look-ups would have to be kept at once, on the stack.
template <size_t kLines, size_t NB>
NEARCELL_INLINE void add_lines(LookupSums (&sums)[NB], const uint8_t* tables, const uint8_t* planes,
                               size_t stride) {
#if defined(__AVX512F__)
    __m512i bytes[NB];
    unroll<2 * kLines>([&](auto part) __attribute__((always_inline)) {
        const __m512i table = _mm512_loadu_si512(tables + part * 64);
        unroll<NB>([&](auto b) __attribute__((always_inline)) {
            const __m512i found =
                _mm512_shuffle_epi8(table, _mm512_loadu_si512(planes + b * stride + part * 64));
            bytes[b] = part == 0 ? found : _mm512_add_epi8(bytes[b], found);
            asm("" : "+v"(bytes[b]));
        });
    });
    unroll<NB>([&](auto b) __attribute__((always_inline)) {
        sums[b].all = _mm512_add_epi16(sums[b].all, bytes[b]);
        sums[b].odd = _mm512_add_epi16(sums[b].odd, _mm512_srli_epi16(bytes[b], 8));
    });
#elif defined(__AVX2__)
    __m256i bytes[NB];
    unroll<4 * kLines>([&](auto part) __attribute__((always_inline)) {
        const __m256i table =
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(tables + part * 32));
        unroll<NB>([&](auto b) __attribute__((always_inline)) {
            const __m256i found = _mm256_shuffle_epi8(
                table, _mm256_loadu_si256(
                           reinterpret_cast<const __m256i*>(planes + b * stride + part * 32)));
            bytes[b] = part == 0 ? found : _mm256_add_epi8(bytes[b], found);
            asm("" : "+x"(bytes[b]));
        });
    });
    unroll<NB>([&](auto b) __attribute__((always_inline)) {
        sums[b].all = _mm256_add_epi16(sums[b].all, bytes[b]);
        sums[b].odd = _mm256_add_epi16(sums[b].odd, _mm256_srli_epi16(bytes[b], 8));
    });
#else
    for (size_t b = 0; b < NB; ++b) {
        for (size_t plane = 0; plane < 8 * kLines; ++plane) {
            const uint8_t* const table = tables + plane * 16;
            const uint8_t* const index = planes + b * stride + plane * 16;
#if defined(__aarch64__)
            const uint8x16_t found = vqtbl1q_u8(vld1q_u8(table), vld1q_u8(index));
            sums[b].first = vaddw_u8(sums[b].first, vget_low_u8(found));
            sums[b].last = vaddw_u8(sums[b].last, vget_high_u8(found));
#else
            for (size_t v = 0; v < 16; ++v)
                sums[b].sums[v] = static_cast<uint16_t>(sums[b].sums[v] + table[index[v]]);
#endif
        }
    }
#endif
}

// ---- for the peak kernels (kernels_peak.cpp) ----

// A register of bytes; sixteen of memory, where there is no instruction that looks up.
#if defined(__AVX512F__)
using ByteBatch = __m512i;
#elif defined(__AVX2__)
using ByteBatch = __m256i;
#elif defined(__aarch64__)
using ByteBatch = uint8x16_t;
#else
struct ByteBatch {
    uint8_t lane[16];
};
#endif
constexpr size_t kByteLanes = sizeof(ByteBatch);

// Sixteen bytes, over and over.
NEARCELL_INLINE ByteBatch repeat_bytes(const uint8_t* p) {
    ByteBatch x;
    for (size_t i = 0; i < kByteLanes; i += 16)
        std::memcpy(reinterpret_cast<char*>(&x) + i, p, 16);
    return x;
}

// No instruction, but the compiler must take x for a new value, and compute anew what depends on
// it.
#if defined(__AVX512F__)
template <class T>
NEARCELL_INLINE void hide(xsimd::batch<T, NEARCELL_ARCH>& x) {
    asm("" : "+v"(x.data));
}
NEARCELL_INLINE void hide(ByteBatch& x) { asm("" : "+v"(x)); }
#elif defined(__AVX2__)
template <class T>
NEARCELL_INLINE void hide(xsimd::batch<T, NEARCELL_ARCH>& x) {
    asm("" : "+x"(x.data));
}
NEARCELL_INLINE void hide(ByteBatch& x) { asm("" : "+x"(x)); }
#elif defined(__aarch64__)
template <class T>
NEARCELL_INLINE void hide(xsimd::batch<T, NEARCELL_ARCH>& x) {
    asm("" : "+w"(x.data));
}
NEARCELL_INLINE void hide(ByteBatch& x) { asm("" : "+w"(x)); }
#else
template <class T>
NEARCELL_INLINE void hide(xsimd::batch<T, NEARCELL_ARCH>& x) {
    asm("" : "+x"(x.data));
}
NEARCELL_INLINE void hide(ByteBatch& x) { asm("" : "+m"(x)); }
#endif

// Adds the entries that the indices, below 16, have in the tables.
NEARCELL_INLINE void add_look_up(ByteBatch& sum, const ByteBatch& table, const ByteBatch& index) {
#if defined(__AVX512F__)
    sum = _mm512_add_epi8(sum, _mm512_shuffle_epi8(table, index));
#elif defined(__AVX2__)
    sum = _mm256_add_epi8(sum, _mm256_shuffle_epi8(table, index));
#elif defined(__aarch64__)
    sum = vaddq_u8(sum, vqtbl1q_u8(table, index));
#else
    for (size_t i = 0; i < 16; ++i) {
        sum.lane[i] = static_cast<uint8_t>(sum.lane[i] + table.lane[index.lane[i]]);
        asm("" : "+m"(sum.lane[i]));  // else g++ puts words together by shifts, which is slower
    }
#endif
}

}  // namespace
