#include <nearcell/quantize/scaled_int8_codec.h>

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "codec_samples.h"

namespace nearcell {
namespace {

float scale_word(const Codec& codec, const Codes& codes, size_t row) {
    return std::bit_cast<float>(codes[(row + 1) * codec.code_words() - 1]);
}

TEST(ScaledInt8Codec, DecodesWithinHalfAScale) {
    const Matrix x = gaussian_rows(300, 13, 1);
    const auto codec = make_codec(of_kind(CodeKind::ScaledInt8), 13);
    const Codes codes = encoded(*codec, x);
    const Matrix y = decoded(*codec, codes);
    for (size_t i = 0; i < x.rows; ++i) {
        const float scale = scale_word(*codec, codes, i);
        EXPECT_EQ(std::bit_cast<uint32_t>(scale) & 0xffu, 0u);
        for (size_t j = 0; j < 13; ++j)
            EXPECT_NEAR(x.row(i)[j], y.row(i)[j], 0.5001f * scale);
    }
}

// Vectors of every order of magnitude that a float can have.
TEST(ScaledInt8Codec, EncodingADecodedVectorGivesItsCode) {
    Random random(2);
    for (size_t dim : {1u, 2u, 3u, 8u, 33u}) {
        Matrix x(20000, dim);
        for (size_t i = 0; i < x.rows; ++i) {
            const int exponent = static_cast<int>(random.below(280)) - 152;
            for (size_t j = 0; j < dim; ++j) {
                const double value = std::ldexp(2 * random.uniform() - 1, exponent);
                x.row(i)[j] = static_cast<float>(value);
            }
        }
        const auto codec = make_codec(of_kind(CodeKind::ScaledInt8), dim);
        const Codes codes = encoded(*codec, x);
        const Matrix y = decoded(*codec, codes);
        for (float value : y.values)
            ASSERT_TRUE(std::isfinite(value));
        EXPECT_EQ(encoded(*codec, y), codes);
    }
}

TEST(ScaledInt8Codec, TheEndsOfTheFloats) {
    const float largest = std::numeric_limits<float>::max();
    const float least = std::numeric_limits<float>::denorm_min();
    Matrix x(6, 2);
    const float rows[6][2] = {{largest, -largest}, {least, 0.0f},           {0x1p-127f, 0x1p-128f},
                              {0x1p-126f, 0.0f},   {127 * 0x1p-126f, 0.0f}, {-0.0f, 0.0f}};
    for (size_t i = 0; i < 6; ++i)
        std::copy_n(rows[i], 2, x.row(i));
    const auto codec = make_codec(of_kind(CodeKind::ScaledInt8), 2);
    const Codes codes = encoded(*codec, x);
    const Matrix y = decoded(*codec, codes);
    EXPECT_EQ(encoded(*codec, y), codes);
    EXPECT_NEAR(y.row(0)[0] / largest, 1.0f, 1e-4f);
    EXPECT_EQ(y.row(0)[0], -y.row(0)[1]);
    EXPECT_EQ(scale_word(*codec, codes, 5), 0.0f);
    EXPECT_EQ(y.row(5)[0], 0.0f);
}

}  // namespace
}  // namespace nearcell
