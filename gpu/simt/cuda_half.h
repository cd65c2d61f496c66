// CUDA's half and bfloat16 types: 16 bits, arithmetic rounded once to nearest even. A NaN becomes
// CUDA's one NaN. Part of the emulation's front door: include simt.h instead.
#pragma once

#include <cstdint>

#include <nearcell/core/half.h>
#include <nearcell/gpu/simt/cuda_types.h>

namespace nearcell::simt {

constexpr uint16_t kNan16 = 0x7fff;

inline uint16_t to_half_bits(float value) {
    return value != value ? kNan16 : float16_from_float(value);
}
inline uint16_t to_bfloat16_bits(float value) {
    return value != value ? kNan16 : bfloat16_from_float(value);
}

}  // namespace nearcell::simt

// A float has over twice the bits of either, so that rounding to it first changes no sum or
// product.
#define SIMT_FLOAT16(NAME, PAIR, TO_BITS, FROM_BITS)                                \
    struct NAME {                                                                   \
        uint16_t bits;                                                              \
        NAME() = default;                                                           \
        explicit NAME(float value) : bits(nearcell::simt::TO_BITS(value)) {}        \
        operator float() const { return nearcell::FROM_BITS(bits); }                \
        friend NAME operator+(NAME a, NAME b) { return NAME(float{a} + float{b}); } \
        friend NAME operator-(NAME a, NAME b) { return NAME(float{a} - float{b}); } \
        friend NAME operator*(NAME a, NAME b) { return NAME(float{a} * float{b}); } \
        friend bool operator==(NAME a, NAME b) { return float{a} == float{b}; }     \
        friend bool operator<(NAME a, NAME b) { return float{a} < float{b}; }       \
        friend bool operator>(NAME a, NAME b) { return float{a} > float{b}; }       \
    };                                                                              \
    struct alignas(4) PAIR {                                                        \
        NAME x, y;                                                                  \
    };                                                                              \
    inline NAME __hadd(NAME a, NAME b) { return a + b; }                            \
    inline NAME __hsub(NAME a, NAME b) { return a - b; }                            \
    inline NAME __hmul(NAME a, NAME b) { return a * b; }                            \
    inline PAIR __hadd2(PAIR a, PAIR b) { return {a.x + b.x, a.y + b.y}; }          \
    inline PAIR __hmul2(PAIR a, PAIR b) { return {a.x * b.x, a.y * b.y}; }          \
    inline float __low2float(PAIR pair) { return pair.x; }                          \
    inline float __high2float(PAIR pair) { return pair.y; }

SIMT_FLOAT16(__half, __half2, to_half_bits, float_from_float16)
SIMT_FLOAT16(__nv_bfloat16, __nv_bfloat162, to_bfloat16_bits, float_from_bfloat16)
#undef SIMT_FLOAT16

using half = __half;
using half2 = __half2;
using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

inline __half __float2half(float value) { return __half(value); }
inline __half __float2half_rn(float value) { return __half(value); }
inline float __half2float(__half value) { return value; }
inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
inline float2 __half22float2(__half2 pair) { return {pair.x, pair.y}; }
inline uint16_t __half_as_ushort(__half value) { return value.bits; }
inline __half __ushort_as_half(uint16_t bits) {
    __half value;
    value.bits = bits;
    return value;
}

inline __nv_bfloat16 __float2bfloat16(float value) { return __nv_bfloat16(value); }
inline __nv_bfloat16 __float2bfloat16_rn(float value) { return __nv_bfloat16(value); }
inline float __bfloat162float(__nv_bfloat16 value) { return value; }
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
    return {__nv_bfloat16(x), __nv_bfloat16(y)};
}
inline float2 __bfloat1622float2(__nv_bfloat162 pair) { return {pair.x, pair.y}; }
inline uint16_t __bfloat16_as_ushort(__nv_bfloat16 value) { return value.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(uint16_t bits) {
    __nv_bfloat16 value;
    value.bits = bits;
    return value;
}
