// Product codes by the kernel against the codec on the host, byte for byte.
#include <nearcell/gpu/kernels/encode_product.cuh>

#include <gtest/gtest.h>

#include "encode_case.h"
#include "stored_case.h"

namespace nearcell::gpu {
namespace {

using simt::config;

class EncodeProduct : public simt::SimtTest {
   protected:
    // The device's bits are those of the CPU's fused multiply-adds.
    void SetUp() override {
        if (cpu_backend().describe().starts_with("cpu base "))
            GTEST_SKIP() << "the CPU's kernels in use have no fused multiply-adds";
    }
};

std::unique_ptr<Codec> codec_of(CodeKind kind, size_t subquantizers, size_t dim,
                                const std::vector<float>& codebooks) {
    CodecOptions options;
    options.kind = kind;
    options.subquantizers = subquantizers;
    std::unique_ptr<Codec> codec = make_codec(options, dim);
    codec->set_parameters(codebooks);
    return codec;
}

size_t centroids_of(CodeKind kind) { return kind == CodeKind::Product8 ? 256 : 16; }

std::vector<float> random_codebooks(CodeKind kind, size_t dim, Random& random) {
    std::vector<float> values(centroids_of(kind) * dim);
    for (float& value : values)
        value = static_cast<float>(random.normal());
    return values;
}

Codes device_codes(const Codec& codec, const RowsCase& rows, size_t staged) {
    const CodeView view = codec.view();
    const DeviceArray<unsigned> sub_begin(
        std::vector<unsigned>(view.sub_begin, view.sub_begin + view.subquantizers + 1));
    const DeviceArray<float> codebooks(codec.parameters());
    const unsigned count = rows.rows().x.count;
    const CodesCase codes(count, view.words);
    const auto blocks = static_cast<unsigned>((count + kCodedRows - 1) / kCodedRows * view.words);
    const auto kernel = view.kind == CodeKind::Product8 ? encode_product<8> : encode_product<4>;
    const size_t shared = encode_shared_bytes(staged, centroids_of(view.kind));
    if (shared > 48 << 10) simt::allow_shared_memory(kernel, shared);
    simt::launch(
        {"encode_product", blocks, kEncodeThreads, shared}, kernel,
        ProductJob{rows.rows(), sub_begin.data(), static_cast<unsigned>(view.subquantizers),
                   codebooks.data(), static_cast<unsigned>(staged), codes.output()});
    EXPECT_TRUE(codes.fits());
    return codes.codes();
}

// With room for exactly the widest subspace, and with more.
void expect_same_codes(const Codec& codec, const Matrix& x, const Matrix& centroids,
                       Random& random) {
    const RowsCase rows(x, centroids, random);
    const Codes expected = host_codes(codec, rows.coded());
    const size_t widest = codec.view().sub_begin[1];
    for (const size_t staged : {widest, 2 * widest + 1})
        EXPECT_EQ(device_codes(codec, rows, staged), expected) << "staged " << staged;
}

struct Shape {
    size_t dim, subquantizers, rows;
};

TEST_F(EncodeProduct, HasTheBytesOfTheCodec) {
    Random random(1);
    const Matrix none(0, 0);
    uint64_t turn = 0;
    for (const CodeKind kind : {CodeKind::Product8, CodeKind::Product4}) {
        for (const auto& [dim, subquantizers, rows] :
             {Shape{1, 1, 3}, Shape{2, 2, 20}, Shape{7, 3, 20}, Shape{9, 9, 40}, Shape{23, 5, 20},
              Shape{19, 17, 20}, Shape{40, 2, 12}, Shape{130, 11, 11}}) {
            SCOPED_TRACE(testing::Message() << "kind " << static_cast<int>(kind) << ", dim " << dim
                                            << ", subquantizers " << subquantizers);
            config().seed = ++turn;
            const auto codec =
                codec_of(kind, subquantizers, dim, random_codebooks(kind, dim, random));
            const Matrix x = mixed_rows(rows, dim, random, turn % 3);
            const Matrix centroids(4, dim, random, 0, 1);
            expect_same_codes(*codec, x, turn % 2 == 0 ? centroids : none, random);
        }
    }
}

TEST_F(EncodeProduct, OfEveryDimension) {
    Random random(7);
    for (size_t dim = 1; dim <= 130; ++dim) {
        const size_t subquantizers = 1 + random.below(dim);
        SCOPED_TRACE(testing::Message() << "dim " << dim << ", subquantizers " << subquantizers);
        config().seed = dim;
        const auto codec = codec_of(CodeKind::Product4, subquantizers, dim,
                                    random_codebooks(CodeKind::Product4, dim, random));
        const Matrix x = mixed_rows(7, dim, random, dim % 2);
        const RowsCase rows(x, Matrix(0, 0), random);
        const size_t widest = codec->view().sub_begin[1];
        EXPECT_EQ(device_codes(*codec, rows, widest), host_codes(*codec, x));
    }
}

// More rows than a block has, and not all of a thread's.
TEST_F(EncodeProduct, OfManyRows) {
    Random random(2);
    const auto codec =
        codec_of(CodeKind::Product4, 10, 12, random_codebooks(CodeKind::Product4, 12, random));
    for (const size_t rows : {127, 129, 256, 257, 400})
        expect_same_codes(*codec, mixed_rows(rows, 12, random), Matrix(0, 0), random);
}

TEST_F(EncodeProduct, TheFirstOfEqualCentroidsWins) {
    Random random(3);
    for (const CodeKind kind : {CodeKind::Product8, CodeKind::Product4}) {
        std::vector<float> codebooks(centroids_of(kind) * 6);
        for (float& value : codebooks)
            value = static_cast<float>(random.below(3));
        Matrix x(60, 6);
        for (float& value : x.data)
            value = 0.5f * static_cast<float>(random.below(5));
        expect_same_codes(*codec_of(kind, 3, 6, codebooks), x, Matrix(0, 0), random);
    }
}

// Keys that are infinite, or nearly: the first centroid then, or what is below.
TEST_F(EncodeProduct, OfHugeNumbers) {
    Random random(4);
    for (const CodeKind kind : {CodeKind::Product8, CodeKind::Product4}) {
        std::vector<float> codebooks = random_codebooks(kind, 5, random);
        for (size_t i = 0; i < codebooks.size(); i += 3)
            codebooks[i] *= 1e19f;
        Matrix x(24, 5, random);
        for (size_t i = 0; i < x.rows; ++i) {
            for (size_t j = 0; j < 5; ++j)
                x.row(i)[j] *= i % 3 == 0 ? 3e38f / 8 : i % 3 == 1 ? 1e19f : 1e-20f;
        }
        expect_same_codes(*codec_of(kind, 2, 5, codebooks), x, Matrix(0, 0), random);
    }
}

TEST_F(EncodeProduct, IsTheSameInAnyOrder) {
    Random random(5);
    const auto codec =
        codec_of(CodeKind::Product4, 10, 11, random_codebooks(CodeKind::Product4, 11, random));
    const Matrix x = mixed_rows(30, 11, random), centroids(3, 11, random);
    const RowsCase rows(x, centroids, random);
    const Codes expected = host_codes(*codec, rows.coded());
    simt::for_each_order(
        [&] {
            config().resident_blocks = static_cast<int>(config().seed);
            config().preempt_one_in = config().seed % 2 == 0 ? 100 : 0;
            config().architecture = config().seed == 1 ? 75 : 90;
            EXPECT_EQ(device_codes(*codec, rows, 4), expected);
        },
        2);
}

TEST_F(EncodeProduct, NeedsItsBarriers) {
    Random random(6);
    const auto codec =
        codec_of(CodeKind::Product4, 4, 12, random_codebooks(CodeKind::Product4, 12, random));
    const Matrix x(200, 12, random), none(0, 0);
    const RowsCase rows(x, none, random);
    const Codes expected = host_codes(*codec, rows.coded());
    const auto is_right = [&] { return device_codes(*codec, rows, 6) == expected; };
    EXPECT_TRUE(is_right());
    EXPECT_EQ(expect_barriers_needed(is_right), 2u);
}

}  // namespace
}  // namespace nearcell::gpu
