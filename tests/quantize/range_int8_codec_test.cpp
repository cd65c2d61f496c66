#include <nearcell/quantize/range_int8_codec.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "codec_samples.h"

namespace nearcell {
namespace {

uint8_t code_byte(const Codec& codec, const Codes& codes, size_t row, size_t j) {
    return static_cast<uint8_t>(codes[row * codec.code_words() + j / 4] >> (8 * (j % 4)));
}

TEST(RangeInt8Codec, CodesAreTheCellsOf255EqualSteps) {
    const Matrix x = gaussian_rows(500, 11, 1);
    const auto codec = trained(of_kind(CodeKind::RangeInt8), x);
    const Matrix other = gaussian_rows(200, 11, 2);  // partly outside the trained range
    const Codes codes = encoded(*codec, other);
    size_t differing = 0;
    for (size_t j = 0; j < 11; ++j) {
        double least = 1e9, largest = -1e9;
        for (size_t i = 0; i < 500; ++i) {
            least = std::min(least, static_cast<double>(x.row(i)[j]));
            largest = std::max(largest, static_cast<double>(x.row(i)[j]));
        }
        for (size_t i = 0; i < 200; ++i) {
            const double part = (static_cast<double>(other.row(i)[j]) - least) / (largest - least);
            const int expected = static_cast<int>(std::clamp(std::floor(255 * part), 0.0, 255.0));
            const int code = code_byte(*codec, codes, i, j);
            EXPECT_LE(std::abs(code - expected), 1);
            differing += code != expected;
        }
    }
    EXPECT_LE(differing, 2u);  // at borders, where float rounding decides
}

TEST(RangeInt8Codec, DecodesWithinHalfAStep) {
    const Matrix x = gaussian_rows(500, 9, 3);
    const auto codec = trained(of_kind(CodeKind::RangeInt8), x);
    const Matrix y = decoded(*codec, encoded(*codec, x));
    const std::vector<float> parameters = codec->parameters();
    for (size_t i = 0; i < x.rows; ++i) {
        for (size_t j = 0; j < 9; ++j) {
            EXPECT_NEAR(x.row(i)[j], y.row(i)[j], 0.5001f * parameters[9 + j]);
        }
    }
}

TEST(RangeInt8Codec, AConstantDimensionIsExact) {
    Matrix x = gaussian_rows(50, 5, 4);
    for (size_t i = 0; i < 50; ++i)
        x.row(i)[2] = 0.1f;
    const auto codec = trained(of_kind(CodeKind::RangeInt8), x);
    Matrix other = gaussian_rows(20, 5, 5);
    const Codes codes = encoded(*codec, other);
    const Matrix y = decoded(*codec, codes);
    for (size_t i = 0; i < 20; ++i)
        EXPECT_EQ(y.row(i)[2], 0.1f);
    EXPECT_EQ(encoded(*codec, y), codes);
}

TEST(RangeInt8Codec, NarrowRangesFarFromZeroComeBack) {
    Random random(6);
    for (float width : {1e-7f, 1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1.0f}) {
        Matrix x(300, 3);
        for (float& value : x.values) {
            value = 1000.0f * (1.0f + width * static_cast<float>(random.uniform()));
        }
        const auto codec = trained(of_kind(CodeKind::RangeInt8), x);
        const Codes codes = encoded(*codec, x);
        EXPECT_EQ(encoded(*codec, decoded(*codec, codes)), codes) << width;
    }
    Matrix tiny(40, 2);
    for (size_t i = 0; i < 40; ++i) {
        tiny.row(i)[0] = static_cast<float>(i) * 1e-44f;
        tiny.row(i)[1] = (static_cast<float>(i) - 20) * 1e-39f;
    }
    const auto codec = trained(of_kind(CodeKind::RangeInt8), tiny);
    const Codes codes = encoded(*codec, tiny);
    EXPECT_EQ(encoded(*codec, decoded(*codec, codes)), codes);
}

TEST(RangeInt8Codec, NeedsARow) {
    const Matrix none(0, 4);
    EXPECT_EQ(code_of([&] { trained(of_kind(CodeKind::RangeInt8), none); }),
              StatusCode::InvalidArgument);
    EXPECT_FALSE(make_codec(of_kind(CodeKind::RangeInt8), 4)->is_trained());
}

TEST(RangeInt8Codec, ANegativeStepIsCorrupt) {
    const auto codec = make_codec(of_kind(CodeKind::RangeInt8), 2);
    const std::vector<float> parameters = {0.0f, 0.0f, 1.0f, -1.0f};
    EXPECT_EQ(code_of([&] { codec->set_parameters(parameters); }), StatusCode::Corrupt);
    EXPECT_FALSE(codec->is_trained());
}

TEST(RangeInt8Codec, KeepsIntegersThatFitAByte) {
    Random random(17);
    Matrix x(300, 4);
    for (size_t i = 0; i < x.rows; ++i) {
        x.row(i)[0] = static_cast<float>(random.below(256));            // all of a byte
        x.row(i)[1] = static_cast<float>(random.below(100)) - 3000.0f;  // a part, far from 0
        x.row(i)[2] = static_cast<float>(random.below(2000));           // too many
        x.row(i)[3] = static_cast<float>(random.below(200)) + (i == 7 ? 0.5f : 0.0f);  // not all
    }
    const auto codec = trained(of_kind(CodeKind::RangeInt8), x);
    const Matrix y = decoded(*codec, encoded(*codec, x));
    bool exact = true;
    for (size_t i = 0; i < x.rows; ++i) {
        EXPECT_EQ(y.row(i)[0], x.row(i)[0]);
        EXPECT_EQ(y.row(i)[1], x.row(i)[1]);
        EXPECT_NEAR(y.row(i)[2], x.row(i)[2], 4.0f);
        EXPECT_NEAR(y.row(i)[3], x.row(i)[3], 0.5f);
        exact = exact && y.row(i)[3] == x.row(i)[3];
    }
    EXPECT_FALSE(exact);
}

}  // namespace
}  // namespace nearcell
