// Half precision in plain C++: float16 (IEEE binary16) and bfloat16 bit patterns to and from float.
// Rounds to nearest, ties to even; float16 overflow gives infinity; NaN stays NaN. For storage and
// references; kernels use the CPU's own conversions, which give the same bits. To halves nothing
// branches, so that compilers vectorise loops.
#pragma once

#include <bit>
#include <cstdint>

namespace nearcell {

constexpr float float_from_bfloat16(uint16_t bits) {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

constexpr uint16_t bfloat16_from_float(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const uint32_t quiet = (bits >> 16) | 0x40u;
    return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

// The largest one that is not above a finite value; below the least of all, that one.
constexpr uint16_t bfloat16_below(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const bool away = (bits >> 31) != 0 && (bits & 0xffffu) != 0;
    const auto rounded = static_cast<uint16_t>((bits >> 16) + (away ? 1u : 0u));
    return rounded == 0xff80u ? static_cast<uint16_t>(0xff7fu) : rounded;
}

constexpr float float_from_float16(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
    const uint32_t exponent = (half >> 10) & 0x1fu;
    const uint32_t fraction = half & 0x3ffu;
    if (exponent == 0x1fu) {  // infinity, or NaN, made quiet
        const uint32_t quiet = fraction == 0 ? 0u : 0x400000u;
        return std::bit_cast<float>(sign | 0x7f800000u | quiet | (fraction << 13));
    }
    if (exponent == 0) {  // zero or subnormal: fraction * 2^-24 is exact in float
        const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
        return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
    }
    return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (fraction << 13));
}

constexpr uint16_t float16_from_float(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    const uint32_t rounded = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    // A subnormal result: let a float addition round it. Larger values must not reach it.
    const uint32_t small = magnitude < 0x38800000u ? magnitude : 0x38800000u;
    const float shifted = std::bit_cast<float>(small) + 0.5f;
    const uint32_t subnormal = std::bit_cast<uint32_t>(shifted) - 0x3f000000u;
    const uint32_t finite = magnitude < 0x38800000u ? subnormal : rounded;
    const uint32_t nan = 0x7e00u | ((magnitude >> 13) & 0x1ffu);
    const uint32_t special = magnitude > 0x7f800000u ? nan : 0x7c00u;
    return static_cast<uint16_t>(sign | (magnitude < 0x477ff000u ? finite : special));
}

}  // namespace nearcell
