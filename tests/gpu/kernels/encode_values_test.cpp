// Codes of one value a dimension by the kernels against the codecs on the host, byte for byte.
#include <nearcell/gpu/kernels/encode_values.cuh>

#include <gtest/gtest.h>

#include <nearcell/core/error.h>

#include "encode_case.h"

namespace nearcell::gpu {
namespace {

using simt::config;

class EncodeValues : public simt::SimtTest {};

constexpr size_t kMostDim = 130;

std::unique_ptr<Codec> codec_of(CodeKind kind, size_t dim, bool factors = false) {
    CodecOptions options;
    options.kind = kind;
    options.factors = factors;
    return make_codec(options, dim);
}

struct Coded {
    Codes codes;
    bool fits;
};

Coded device_codes(const Codec& codec, const RowsCase& rows) {
    const CodeView view = codec.view();
    const unsigned count = rows.rows().x.count;
    const CodesCase codes(count, view.words);
    const auto blocks =
        static_cast<unsigned>((count * view.words + kEncodeThreads - 1) / kEncodeThreads);
    if (view.kind == CodeKind::RangeInt8) {
        const std::vector<float> parameters = codec.parameters();
        const DeviceArray<float> ranges(parameters);
        simt::launch({"encode_ranges", blocks, kEncodeThreads}, encode_ranges, rows.rows(),
                     ranges.data(), ranges.data() + view.dim, codes.output());
    } else if (view.kind == CodeKind::ScaledInt8) {
        simt::launch({"encode_scaled", (count + 3) / 4, kEncodeThreads}, encode_scaled, rows.rows(),
                     codes.output());
    } else {
        const bool short_exponent = view.kind == CodeKind::Float16;
        simt::launch(
            {"encode_halves", blocks, kEncodeThreads},
            short_exponent ? encode_halves<CodeKind::Float16> : encode_halves<CodeKind::BFloat16>,
            rows.rows(), codes.output());
    }
    return {codes.codes(), codes.fits()};
}

void expect_same_codes(const Codec& codec, const Matrix& x, const Matrix& centroids,
                       Random& random) {
    const RowsCase rows(x, centroids, random);
    const Coded found = device_codes(codec, rows);
    EXPECT_TRUE(found.fits);
    EXPECT_EQ(found.codes, host_codes(codec, rows.coded()))
        << "kind " << static_cast<int>(codec.options().kind) << ", dim " << x.cols;
}

TEST_F(EncodeValues, HalvesAndScaledBytesHaveTheBytesOfTheCodec) {
    Random random(1);
    const Matrix none(0, 0);
    for (const CodeKind kind : {CodeKind::Float16, CodeKind::BFloat16, CodeKind::ScaledInt8}) {
        for (size_t dim = 1; dim <= kMostDim; ++dim) {
            const auto codec = codec_of(kind, dim);
            const Matrix x = mixed_rows(11, dim, random, dim % 2), centroids(3, dim, random, 0, 1);
            config().seed = dim;
            expect_same_codes(*codec, x, none, random);
            expect_same_codes(*codec, x, centroids, random);
        }
    }
}

TEST_F(EncodeValues, RangesHaveTheBytesOfTheCodec) {
    Random random(2);
    for (const bool factors : {false, true}) {
        for (size_t dim = 1; dim <= kMostDim; ++dim) {
            const auto codec = codec_of(CodeKind::RangeInt8, dim, factors);
            Matrix training(30, dim, random);
            for (size_t i = 0; i < training.rows; ++i) {
                for (size_t j = 0; j < dim; j += 3)  // of no width, or integers
                    training.row(i)[j] = j % 2 == 0 ? 7.0f : static_cast<float>(random.below(200));
            }
            codec->train(training.view(), {}, cpu_backend());
            const Matrix x = mixed_rows(11, dim, random, dim % 2), centroids(3, dim, random, 0, 1);
            expect_same_codes(*codec, training, Matrix(0, 0), random);
            expect_same_codes(*codec, x, Matrix(0, 0), random);
            expect_same_codes(*codec, x, centroids, random);
        }
    }
}

// At the ends of what scales can be, and residuals that overflow.
TEST_F(EncodeValues, ScalesOfTinyAndHugeRows) {
    Random random(3);
    Matrix x(34, 6, random), centroids(1, 6);
    for (size_t i = 0; i < x.rows; ++i) {
        for (size_t j = 0; j < 6; ++j)
            x.row(i)[j] *= std::ldexp(1.0f, static_cast<int>(i) * 8 - 146) / 4;
    }
    std::fill(centroids.data.begin(), centroids.data.end(), 3e38f);
    const auto codec = codec_of(CodeKind::ScaledInt8, 6);
    expect_same_codes(*codec, x, Matrix(0, 0), random);
    x.row(33)[2] = -3e38f;
    expect_same_codes(*codec, x, centroids, random);
}

TEST_F(EncodeValues, HalvesAtTheirEnds) {
    Random random(4);
    for (const CodeKind kind : {CodeKind::Float16, CodeKind::BFloat16}) {
        const auto codec = codec_of(kind, 3);
        const float limit = kind == CodeKind::Float16 ? 65520.0f : 0x1.ffp127f;
        const float below = std::nextafter(limit, 0.0f);
        Matrix x(4, 3, random);
        x.row(0)[1] = below;
        x.row(1)[2] = -below;
        x.row(2)[0] = 0x1.8p-25f;  // rounds to the least half
        x.row(3)[0] = 0x1p-149f;
        expect_same_codes(*codec, x, Matrix(0, 0), random);
        for (const float wrong : {limit, -limit, std::numeric_limits<float>::infinity(),
                                  std::numeric_limits<float>::quiet_NaN()}) {
            for (const size_t j : {0, 1, 2}) {
                Matrix bad = x;
                bad.row(3)[j] = wrong;
                const Matrix none(0, 0);
                EXPECT_FALSE(device_codes(*codec, RowsCase(bad, none, random)).fits);
                EXPECT_THROW(host_codes(*codec, bad), Error);
            }
        }
    }
}

}  // namespace
}  // namespace nearcell::gpu
