#include <nearcell/quantize/bits_codec.h>

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "codec_samples.h"

namespace nearcell {
namespace {

double dot(const float* a, const float* b, size_t dim) {
    double sum = 0;
    for (size_t j = 0; j < dim; ++j)
        sum += static_cast<double>(a[j]) * static_cast<double>(b[j]);
    return sum;
}

struct Factors {
    double scale, bias, error;
};

Factors factors_of(const Codec& codec, const Codes& codes, size_t row) {
    const size_t bits = codec.options().bits;
    const uint32_t* tail = codes.data() + (row + 1) * codec.code_words() - bits_factor_words(bits);
    const auto value = [&](BitsFactor which) {
        return static_cast<double>(bits_factor(tail, 1, bits, which));
    };
    return {value(BitsFactor::Scale), value(BitsFactor::Bias), value(BitsFactor::Error)};
}

uint32_t code_at(const Codec& codec, const Codes& codes, size_t row, size_t j) {
    const size_t planes = codec.options().bits, plane_words = (codec.dim() + 31) / 32;
    uint32_t code = 0;
    for (size_t p = 0; p < planes; ++p) {
        const uint32_t word = codes[row * codec.code_words() + p * plane_words + j / 32];
        code = 2 * code + ((word >> (j % 32)) & 1u);
    }
    return code;
}

TEST(BitsCodec, OneBitIsTheSign) {
    const Matrix x = gaussian_rows(50, 37, 1);
    const auto codec = make_codec(with_bits(1), 37);
    const Codes codes = encoded(*codec, x);
    for (size_t i = 0; i < 50; ++i) {
        for (size_t j = 0; j < 37; ++j) {
            EXPECT_EQ(code_at(*codec, codes, i, j), x.row(i)[j] >= 0 ? 1u : 0u);
        }
        EXPECT_EQ(codes[i * codec->code_words() + 1] >> 5, 0u);  // lanes past the dimension
    }
}

TEST(BitsCodec, FactorsAreThoseOfTheirDefinition) {
    for (size_t bits = 1; bits <= 8; ++bits) {
        const Matrix x = gaussian_rows(40, 45, bits);
        const auto codec = make_codec(with_bits(bits), 45);
        const Codes codes = encoded(*codec, x);
        const Matrix y = decoded(*codec, codes);
        for (size_t i = 0; i < 40; ++i) {
            const double square = dot(x.row(i), x.row(i), 45);
            double along = 0, norm = 0;
            for (size_t j = 0; j < 45; ++j) {
                const double u = code_at(*codec, codes, i, j) - (std::exp2(bits) - 1) / 2;
                along += u * static_cast<double>(x.row(i)[j]);
                norm += u * u;
                EXPECT_GE(u * static_cast<double>(x.row(i)[j]), 0.0);
            }
            const Factors factors = factors_of(*codec, codes, i);
            // Half a unit in the last of a bfloat16's eight binary places, or of a float's.
            const double half = bits == 1 ? 0x1p-8 : 1e-6;
            EXPECT_NEAR(factors.scale, square / along, half * factors.scale);
            const double bias = square - factors.scale * factors.scale * norm;
            EXPECT_NEAR(factors.bias, bias, half * std::fabs(bias) + 1e-5 * square);
            // scale u - x is perpendicular to x.
            EXPECT_NEAR(dot(y.row(i), x.row(i), 45), square, (half + 1e-5) * square);
            const double tangent = square * norm / (along * along) - 1;
            const double error = 2 * 1.9 * std::sqrt(square * tangent / 44);
            EXPECT_GE(factors.error, (1 - 1e-5) * error);
            EXPECT_LE(factors.error, (1 + 2 * half + 1e-5) * error);
        }
    }
}

TEST(BitsCodec, ErrorFallsWithBits) {
    const Matrix x = gaussian_rows(300, 64, 2);
    double last = 1e9;
    for (size_t bits = 1; bits <= 8; ++bits) {
        const auto codec = make_codec(with_bits(bits), 64);
        const double error = round_trip_error(*codec, x);
        EXPECT_LT(error, 0.5 * last) << bits;
        last = error;
    }
    EXPECT_LT(last, 1e-4);
}

// Queries with independent Gaussian values are as if rotated at random against the vectors.
TEST(BitsCodec, TheEstimateIsUnbiasedAndItsBoundHolds) {
    for (size_t dim : {33u, 64u, 200u}) {
        for (size_t bits : {1u, 2u, 4u, 7u}) {
            const Matrix x = gaussian_rows(300, dim, 3);
            const Matrix queries = gaussian_rows(300, dim, 4);
            const auto codec = make_codec(with_bits(bits), dim);
            const Codes codes = encoded(*codec, x);
            const Matrix y = decoded(*codec, codes);
            double sum = 0, squares = 0;
            size_t below = 0, within = 0;
            const double pairs = 300.0 * 300.0;
            for (size_t i = 0; i < 300; ++i) {
                const Factors factors = factors_of(*codec, codes, i);
                for (size_t q = 0; q < 300; ++q) {
                    const float* query = queries.row(q);
                    const double length2 = dot(query, query, dim);
                    const double truth =
                        length2 + dot(x.row(i), x.row(i), dim) - 2 * dot(query, x.row(i), dim);
                    const double estimate = length2 + dot(y.row(i), y.row(i), dim) -
                                            2 * dot(query, y.row(i), dim) + factors.bias;
                    const double gap = (estimate - truth) / std::sqrt(length2);
                    sum += gap;
                    squares += gap * gap;
                    below += gap <= factors.error * (1 + 1e-4) + 1e-6;
                    within += std::fabs(gap) <= factors.error * (1 + 1e-4) + 1e-6;
                }
            }
            const double spread = std::sqrt(squares / pairs);
            // 300 queries are shared by all vectors: the mean has the spread of 300 values at
            // worst.
            EXPECT_LT(std::fabs(sum / pairs), 4 * spread / std::sqrt(300.0));
            EXPECT_GE(static_cast<double>(below), 0.97 * pairs) << dim << " " << bits;
            EXPECT_GE(static_cast<double>(within), 0.937 * pairs) << dim << " " << bits;
            EXPECT_LE(static_cast<double>(within), 0.965 * pairs) << dim << " " << bits;
        }
    }
}

// Many random rotations of one pair: the mean of the estimates is the distance.
TEST(BitsCodec, RotationsAverageOut) {
    constexpr size_t kDim = 24, kRotations = 4000;
    Random random(5);
    for (size_t bits : {1u, 3u}) {
        // A rotated pair: x along a random direction, q at a fixed angle and length from it.
        Matrix x = gaussian_rows(kRotations, kDim, 6), queries = gaussian_rows(kRotations, kDim, 7);
        for (size_t i = 0; i < kRotations; ++i) {
            float *a = x.row(i), *b = queries.row(i);
            const double length = std::sqrt(dot(a, a, kDim));
            for (size_t j = 0; j < kDim; ++j)
                a[j] = static_cast<float>(static_cast<double>(a[j]) / length);
            const double along = dot(a, b, kDim);
            for (size_t j = 0; j < kDim; ++j)
                b[j] -= static_cast<float>(along) * a[j];
            const double rest = std::sqrt(dot(b, b, kDim));
            for (size_t j = 0; j < kDim; ++j) {
                b[j] = 0.8f * a[j] + 0.6f * static_cast<float>(static_cast<double>(b[j]) / rest);
            }
        }
        const auto codec = make_codec(with_bits(bits), kDim);
        const Codes codes = encoded(*codec, x);
        const Matrix y = decoded(*codec, codes);
        double sum = 0, squares = 0;
        for (size_t i = 0; i < kRotations; ++i) {
            const double estimate = 1.0 + dot(y.row(i), y.row(i), kDim) -
                                    2 * dot(queries.row(i), y.row(i), kDim) +
                                    factors_of(*codec, codes, i).bias;
            sum += estimate;
            squares += (estimate - 0.4) * (estimate - 0.4);
        }
        const double mean = sum / kRotations, spread = std::sqrt(squares / kRotations);
        EXPECT_NEAR(mean, 0.4, 4 * spread / std::sqrt(kRotations));
        EXPECT_GT(spread, 0.001);
    }
}

TEST(BitsCodec, ZeroAndTinyVectorsAreTheOrigin) {
    Matrix x(4, 9);
    x.row(1)[3] = -1e-20f;
    x.row(2)[0] = 1e-40f;
    x.row(3)[8] = -0.0f;
    for (size_t bits = 1; bits <= 8; ++bits) {
        const auto codec = make_codec(with_bits(bits), 9);
        const Codes codes = encoded(*codec, x);
        const Matrix y = decoded(*codec, codes);
        for (size_t i = 0; i < 4; ++i) {
            EXPECT_EQ(factors_of(*codec, codes, i).scale, 0.0);
            const double length = std::sqrt(dot(x.row(i), x.row(i), 9));
            EXPECT_GE(factors_of(*codec, codes, i).error, 1.999 * length);
            for (size_t j = 0; j < 9; ++j)
                EXPECT_EQ(y.row(i)[j], 0.0f);
        }
        EXPECT_EQ(factors_of(*codec, codes, 0).error, 0.0);
    }
}

TEST(BitsCodec, LargeVectorsStayFinite) {
    Matrix x = gaussian_rows(20, 6, 8);
    for (float& value : x.values)
        value *= 1e37f;
    const auto codec = make_codec(with_bits(3), 6);
    const Codes codes = encoded(*codec, x);
    for (size_t i = 0; i < 20; ++i) {
        const Factors factors = factors_of(*codec, codes, i);
        EXPECT_TRUE(std::isfinite(factors.scale + factors.bias + factors.error));
    }
}

}  // namespace
}  // namespace nearcell
