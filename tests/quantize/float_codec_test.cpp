#include <nearcell/quantize/float_codec.h>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/core/half.h>

#include "codec_samples.h"

namespace nearcell {
namespace {

float middle_of(float a, float b) {
    return static_cast<float>((static_cast<double>(a) + static_cast<double>(b)) / 2);
}

TEST(FloatCodec, Float32IsExact) {
    const Matrix x = gaussian_rows(100, 17, 1);
    const auto codec = trained(of_kind(CodeKind::Float32), x);
    EXPECT_EQ(decoded(*codec, encoded(*codec, x)).values, x.values);
}

TEST(FloatCodec, HalvesRoundToNearest) {
    const Matrix x = gaussian_rows(100, 17, 2);
    const auto half = trained(of_kind(CodeKind::Float16), x);
    const auto brain = trained(of_kind(CodeKind::BFloat16), x);
    const Matrix as_half = decoded(*half, encoded(*half, x));
    const Matrix as_brain = decoded(*brain, encoded(*brain, x));
    for (size_t i = 0; i < x.values.size(); ++i) {
        EXPECT_EQ(as_half.values[i], float_from_float16(float16_from_float(x.values[i])));
        EXPECT_EQ(as_brain.values[i], float_from_bfloat16(bfloat16_from_float(x.values[i])));
        EXPECT_NEAR(as_half.values[i], x.values[i], std::fabs(x.values[i]) * 0x1p-11f + 0x1p-25f);
        EXPECT_NEAR(as_brain.values[i], x.values[i], std::fabs(x.values[i]) * 0x1p-8f);
    }
}

TEST(FloatCodec, EveryFiniteHalfComesBack) {
    Matrix x(1, 0x7c00);
    for (size_t j = 0; j < x.cols; ++j) {
        x.row(0)[j] = float_from_float16(static_cast<uint16_t>(j));
    }
    const auto codec = trained(of_kind(CodeKind::Float16), x);
    EXPECT_EQ(decoded(*codec, encoded(*codec, x)).values, x.values);
}

// Halfway between each two neighbours, subnormal ones too, just below and just above, of both
// signs.
TEST(FloatCodec, TiesGoToEven) {
    for (const CodeKind kind : {CodeKind::Float16, CodeKind::BFloat16}) {
        const bool brain = kind == CodeKind::BFloat16;
        const auto value = [&](uint32_t half) {
            const uint16_t bits = static_cast<uint16_t>(half);
            return brain ? float_from_bfloat16(bits) : float_from_float16(bits);
        };
        const uint32_t largest = brain ? 0x7f7fu : 0x7bffu;
        Matrix x(3, largest);  // an odd number
        for (uint32_t half = 0; half < largest; ++half) {
            const float middle = middle_of(value(half), value(half + 1));
            const float sign = half % 3 == 0 ? -1.0f : 1.0f;
            x.row(0)[half] = sign * std::nextafter(middle, 0.0f);
            x.row(1)[half] = sign * middle;
            x.row(2)[half] = sign * std::nextafter(middle, std::numeric_limits<float>::max());
        }
        const auto codec = make_codec(of_kind(kind), x.cols);
        const std::vector<uint32_t> codes = encoded(*codec, x);
        const auto code = [&](size_t row, uint32_t half) {
            return codes[row * codec->code_words() + half / 2] >> (half % 2 * 16) & 0xffffu;
        };
        for (uint32_t half = 0; half < largest; ++half) {
            const uint32_t sign = half % 3 == 0 ? 0x8000u : 0u;
            ASSERT_EQ(code(0, half), sign | half);
            ASSERT_EQ(code(1, half), sign | (half + half % 2));
            ASSERT_EQ(code(2, half), sign | (half + 1));
        }
        EXPECT_EQ(codes[codec->code_words() - 1] >> 16, 0u);  // past the last dimension
    }
}

TEST(FloatCodec, WhatDoesNotFitIsRefused) {
    Matrix x(3, 4);
    const auto code = [&](CodeKind kind) {
        return code_of([&] { encoded(*make_codec(of_kind(kind), 4), x); });
    };
    for (float value : {65520.0f, -65520.0f, 1e30f, std::numeric_limits<float>::infinity(),
                        std::numeric_limits<float>::quiet_NaN()}) {
        x.row(2)[1] = value;
        EXPECT_EQ(code(CodeKind::Float16), StatusCode::InvalidArgument) << value;
    }
    try {
        encoded(*make_codec(of_kind(CodeKind::Float16), 4), x);
    } catch (const Error& error) {
        EXPECT_EQ(std::string(error.what()).rfind("x[2, 1] = nan does not fit float16", 0), 0u)
            << error.what();
    }
    x.row(2)[1] = std::numeric_limits<float>::max();
    EXPECT_EQ(code(CodeKind::BFloat16), StatusCode::InvalidArgument);
    x.row(2)[1] = 65519.0f;
    const auto codec = make_codec(of_kind(CodeKind::Float16), 4);
    EXPECT_EQ(decoded(*codec, encoded(*codec, x)).row(2)[1], 65504.0f);
    x.row(2)[1] = 3.38e38f;
    const auto brain = make_codec(of_kind(CodeKind::BFloat16), 4);
    EXPECT_TRUE(std::isfinite(decoded(*brain, encoded(*brain, x)).row(2)[1]));
}

}  // namespace
}  // namespace nearcell
