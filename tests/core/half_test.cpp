// Every half-precision bit pattern, and every way a float can round to one.
#include <nearcell/core/half.h>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include <nearcell/core/random.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace nearcell {
namespace {

float from_bits(uint32_t bits) { return std::bit_cast<float>(bits); }
uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value); }

// The value of a float16 pattern by its definition.
double float16_value(unsigned half) {
    const int exponent = static_cast<int>((half >> 10) & 0x1fu);
    const double fraction = half & 0x3ffu;
    const double magnitude =
        exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    return (half & 0x8000u) != 0 ? -magnitude : magnitude;
}

bool is_nan16(unsigned half) { return (half & 0x7fffu) > 0x7c00u; }

// Floats where rounding is decided: around every pattern, halfway between neighbours, and at
// random.
std::vector<float> interesting_floats() {
    std::vector<float> values;
    for (unsigned half = 0; half < 0x7c00u; ++half) {
        const double low = float16_value(half);
        const double high = half == 0x7bffu ? 65536.0 : float16_value(half + 1);
        const float middle = static_cast<float>((low + high) / 2);
        for (const float value : {static_cast<float>(low), middle, std::nextafter(middle, 0.0f),
                                  std::nextafter(middle, std::numeric_limits<float>::infinity())}) {
            values.push_back(value);
            values.push_back(-value);
        }
    }
    for (unsigned high = 0; high <= 0xffffu; ++high) {
        for (const uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
            values.push_back(from_bits((high << 16) | low));
        }
    }
    Random random(3);
    for (int i = 0; i < 200000; ++i) {
        values.push_back(from_bits(static_cast<uint32_t>(random.next())));
    }
    return values;
}

TEST(Half, Float16PatternsHaveTheirValues) {
    for (unsigned half = 0; half <= 0xffffu; ++half) {
        const float value = float_from_float16(static_cast<uint16_t>(half));
        if (is_nan16(half)) {
            ASSERT_TRUE(std::isnan(value)) << half;
        } else if ((half & 0x7fffu) == 0x7c00u) {
            ASSERT_TRUE(std::isinf(value)) << half;
            ASSERT_EQ(std::signbit(value), half >= 0x8000u);
        } else {
            ASSERT_EQ(static_cast<double>(value), float16_value(half)) << half;
            ASSERT_EQ(std::signbit(value), half >= 0x8000u);
        }
    }
}

TEST(Half, Float16RoundTrips) {
    for (unsigned half = 0; half <= 0xffffu; ++half) {
        const unsigned again = float16_from_float(float_from_float16(static_cast<uint16_t>(half)));
        ASSERT_EQ(again, is_nan16(half) ? half | 0x200u : half);
    }
}

TEST(Half, BFloat16RoundTrips) {
    for (unsigned half = 0; half <= 0xffffu; ++half) {
        const uint16_t pattern = static_cast<uint16_t>(half);
        const float value = float_from_bfloat16(pattern);
        ASSERT_EQ(bits_of(value), half << 16);
        ASSERT_EQ(bfloat16_from_float(value), std::isnan(value) ? half | 0x40u : half);
    }
}

// The nearest pattern, found by comparing distances to both neighbours in exact arithmetic.
TEST(Half, Float16RoundsToNearestEven) {
    for (const float value : interesting_floats()) {
        if (std::isnan(value)) {
            ASSERT_TRUE(is_nan16(float16_from_float(value)));
            continue;
        }
        const unsigned half = float16_from_float(value);
        ASSERT_EQ((half & 0x8000u) != 0, std::signbit(value));
        const unsigned magnitude = half & 0x7fffu;
        const double target = std::abs(static_cast<double>(value));
        if (magnitude == 0x7c00u) {
            ASSERT_GE(target, 65520.0) << value;
            continue;
        }
        ASSERT_LT(target, 65520.0) << value;
        const double error = std::abs(float16_value(magnitude) - target);
        for (const unsigned other : {magnitude - 1, magnitude + 1}) {
            if (other > 0x7c00u) continue;  // below zero, beyond infinity
            const double alternative = other == 0x7c00u ? 65536.0 : float16_value(other);
            const double other_error = std::abs(alternative - target);
            ASSERT_LE(error, other_error) << value;
            if (error == other_error) {
                ASSERT_EQ(magnitude % 2, 0u) << value;
            }
        }
    }
}

TEST(Half, BFloat16RoundsToNearestEven) {
    for (const float value : interesting_floats()) {
        const uint16_t half = bfloat16_from_float(value);
        if (std::isnan(value)) {
            ASSERT_TRUE(std::isnan(float_from_bfloat16(half)));
            continue;
        }
        const uint32_t bits = bits_of(value), low = bits & 0xffffu;
        const uint32_t down = bits >> 16;  // rounding up may carry into infinity, as it should
        const uint32_t expected =
            low > 0x8000u || (low == 0x8000u && down % 2 == 1) ? down + 1 : down;
        ASSERT_EQ(half, expected) << value;
    }
}

#if defined(__x86_64__)
__attribute__((target("f16c"))) float hardware_float(uint16_t half) {
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
}
__attribute__((target("f16c"))) uint16_t hardware_float16(float value) {
    const __m128i half = _mm_cvtps_ph(_mm_set_ss(value), _MM_FROUND_TO_NEAREST_INT);
    return static_cast<uint16_t>(_mm_cvtsi128_si32(half) & 0xffff);
}

TEST(Half, Float16MatchesTheProcessor) {
    if (!__builtin_cpu_supports("avx2")) GTEST_SKIP() << "this processor has no F16C";
    for (unsigned half = 0; half <= 0xffffu; ++half) {
        const uint16_t pattern = static_cast<uint16_t>(half);
        ASSERT_EQ(bits_of(float_from_float16(pattern)), bits_of(hardware_float(pattern))) << half;
    }
    for (const float value : interesting_floats()) {
        ASSERT_EQ(float16_from_float(value), hardware_float16(value)) << bits_of(value);
    }
}
#endif

TEST(Half, BFloat16BelowIsTheLargestOneNotAbove) {
    for (unsigned half = 0; half < 0x7f80u; ++half) {
        const float low = float_from_bfloat16(static_cast<uint16_t>(half));
        const float above = std::nextafter(low, std::numeric_limits<float>::max());
        EXPECT_EQ(bfloat16_below(low), half);
        EXPECT_EQ(bfloat16_below(above), half);
        EXPECT_EQ(bfloat16_below(-low), half | 0x8000u);
        if (half == 0x7f7fu) continue;  // there is none below
        EXPECT_EQ(bfloat16_below(-above), (half + 1) | 0x8000u);
        const float next = float_from_bfloat16(static_cast<uint16_t>(half + 1));
        EXPECT_EQ(bfloat16_below(std::nextafter(next, 0.0f)), half);
    }
    EXPECT_EQ(bfloat16_below(std::numeric_limits<float>::lowest()), 0xff7fu);
}

}  // namespace
}  // namespace nearcell
