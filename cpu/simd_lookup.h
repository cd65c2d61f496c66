// Look-ups of nibbles in tables of sixteen bytes: as simd.h, of which it is a part.
//
// A line is a word of sixteen vectors, eight nibbles each. Split, it is 128 bytes: four planes of
// the low nibbles of byte 0 to 3 of the sixteen words, then four of the high ones. The tables of a
// line are 128 bytes in the same order: those of nibbles 0, 2, 4, 6, then of 1, 3, 5, 7.
#pragma once

#include <nearcell/cpu/simd.h>

namespace {

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

}  // namespace
