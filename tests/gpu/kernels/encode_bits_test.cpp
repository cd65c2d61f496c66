// Codes of one bit by the kernel against the codec on the host, byte for byte.
#include <nearcell/gpu/kernels/encode_bits.cuh>

#include <gtest/gtest.h>

#include "encode_case.h"
#include "stored_case.h"

namespace nearcell::gpu {
namespace {

using simt::config;

class EncodeBits : public simt::SimtTest {};

std::unique_ptr<Codec> codec_of(size_t dim) {
    CodecOptions options;
    options.kind = CodeKind::Bits;
    options.bits = 1;
    return make_codec(options, dim);
}

struct Coded {
    Codes codes;
    bool fits;
};

Coded device_codes(const Codec& codec, const RowsCase& rows) {
    const unsigned count = rows.rows().x.count;
    const CodesCase codes(count, codec.code_words());
    simt::launch({"encode_bits", (count + kEncodeThreads - 1) / kEncodeThreads, kEncodeThreads},
                 encode_bits, rows.rows(), codes.output());
    return {codes.codes(), codes.fits()};
}

void expect_same_codes(const Matrix& x, const Matrix& centroids, Random& random) {
    const auto codec = codec_of(x.cols);
    const RowsCase rows(x, centroids, random);
    const Coded found = device_codes(*codec, rows);
    EXPECT_TRUE(found.fits);
    EXPECT_EQ(found.codes, host_codes(*codec, rows.coded())) << "dim " << x.cols;
}

TEST_F(EncodeBits, HasTheBytesOfTheCodec) {
    Random random(1);
    for (size_t dim = 1; dim <= 130; ++dim) {
        config().seed = dim;
        const Matrix x = mixed_rows(21, dim, random, dim % 3), centroids(3, dim, random, 0, 1);
        expect_same_codes(x, Matrix(0, 0), random);
        expect_same_codes(x, centroids, random);
    }
}

TEST_F(EncodeBits, OfManyRows) {
    Random random(2);
    for (const size_t rows : {1, 127, 128, 129, 300})
        expect_same_codes(mixed_rows(rows, 40, random), Matrix(0, 0), random);
}

// Around the length below which a row counts as the origin, and where factors are cut off.
TEST_F(EncodeBits, OfTinyAndHugeRows) {
    Random random(3);
    Matrix x(60, 35, random);
    for (size_t i = 0; i < x.rows; ++i) {
        const auto exponent = static_cast<int>(i);
        for (size_t j = 0; j < 35; ++j)
            x.row(i)[j] = i < 40 ? std::ldexp(x.row(i)[j], exponent - 75)
                                 : std::ldexp(x.row(i)[j], 2 * exponent - 80 + 84);
    }
    for (size_t i = 0; i < x.rows; ++i) {
        for (size_t j = 0; j < 35; ++j)
            x.row(i)[j] = std::clamp(x.row(i)[j], -3e38f, 3e38f);
    }
    expect_same_codes(x, Matrix(0, 0), random);
}

TEST_F(EncodeBits, NumbersThatOverflowAreLeftToTheCodec) {
    Random random(4);
    Matrix x(40, 8, random), centroids(1, 8);
    std::fill(centroids.data.begin(), centroids.data.end(), 3e38f);
    EXPECT_TRUE(device_codes(*codec_of(8), RowsCase(x, centroids, random)).fits);
    x.row(33)[2] = -3e38f;
    EXPECT_FALSE(device_codes(*codec_of(8), RowsCase(x, centroids, random)).fits);
}

TEST_F(EncodeBits, NeedsItsBarriersInAnyOrder) {
    Random random(5);
    const Matrix x = mixed_rows(70, 70, random), none(0, 0);
    const auto codec = codec_of(70);
    const RowsCase rows(x, none, random);
    const Codes expected = host_codes(*codec, x);
    const auto is_right = [&] { return device_codes(*codec, rows).codes == expected; };
    simt::for_each_order(
        [&] {
            config().preempt_one_in = config().seed % 2 == 0 ? 100 : 0;
            EXPECT_TRUE(is_right());
        },
        2);
    EXPECT_EQ(expect_barriers_needed(is_right, 0, simt::SiteKind::WarpBarrier), 2u);
}

}  // namespace
}  // namespace nearcell::gpu
