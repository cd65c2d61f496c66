// For the peak kernels (kernels_peak.cpp): as simd.h, of which it is a part.
#pragma once

#include <nearcell/cpu/simd_bytes.h>

namespace {

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
