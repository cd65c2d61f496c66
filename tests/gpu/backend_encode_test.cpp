// Encoding with CudaBackend on the emulated device: which rows go there, and that every byte is
// what the codec gives, also of an index that rows are added to.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/gpu/cuda_device.h>
#include <nearcell/index/factory.h>
#include <nearcell/quantize/codec.h>

#include "gpu/backend_support.h"

namespace nearcell::gpu {
namespace {

using Codes = std::vector<uint32_t>;

class BackendEncodeTest : public CudaBackendTest {};

const CodecOptions kKinds[] = {
    {CodeKind::Float16},     {CodeKind::BFloat16},    {CodeKind::RangeInt8, 0, 1, false},
    {CodeKind::ScaledInt8},  {CodeKind::Product8, 3}, {CodeKind::RangeInt8, 0, 1, true},
    {CodeKind::Product4, 9}, {CodeKind::Bits, 0, 1},
};
bool is_product(const CodecOptions& kind) { return kind.subquantizers != 0; }

std::unique_ptr<Codec> trained(const CodecOptions& options, const Matrix& x) {
    std::unique_ptr<Codec> codec = make_codec(options, x.cols);
    CodecTraining training;
    training.iterations = 2;
    training.threads = 1;
    codec->train(x.view(), training, cpu_backend());
    return codec;
}

Codes encoded(const Codec& codec, MatrixView<const float> x, const Backend& backend) {
    Codes codes(x.rows * codec.code_words(), 0xffffffffu);
    codec.encode(x, codes.data(), 2, backend);
    return codes;
}

// How many kernels `action` starts.
template <class Action>
uint64_t launches_of(const Action& action) {
    const uint64_t before = simt::counters().launches;
    action();
    return simt::counters().launches - before;
}

TEST_F(BackendEncodeTest, KeptRowsAreEncodedOnTheDevice) {
    const CudaBackend backend(on_device());
    Random random(1);
    const Matrix x(300, 23, random, 0, 2);
    for (const CodecOptions& kind : kKinds) {
        const auto codec = trained(kind, x);
        const Codes expected = encoded(*codec, x.view(), cpu_backend());
        const auto kept = backend.keep(x.view());
        Codes found;
        EXPECT_EQ(launches_of([&] { found = encoded(*codec, x.view(), backend); }), 1u);
        EXPECT_EQ(found, expected) << "kind " << static_cast<int>(kind.kind);
        const Codes part(expected.begin() + 7 * static_cast<ptrdiff_t>(codec->code_words()),
                         expected.end());
        EXPECT_EQ(encoded(*codec, x.view().slice(7, 293), backend), part);
    }
}

// Rows that are not there travel for products only; then slice by slice.
TEST_F(BackendEncodeTest, OtherRowsTravelWhereThatPays) {
    Random random(2);
    const Matrix x(300, 23, random, 0, 2);
    for (const CodecOptions& kind : kKinds) {
        const auto codec = trained(kind, x);
        const CudaBackend backend(on_device(4096));
        Codes found;
        const uint64_t launches = launches_of([&] { found = encoded(*codec, x.view(), backend); });
        EXPECT_EQ(found, encoded(*codec, x.view(), cpu_backend()));
        const size_t slice = 4096 / (4 * (23 + codec->code_words() + 1));
        EXPECT_EQ(launches, is_product(kind) ? (300 + slice - 1) / slice : 0u);
    }
}

TEST_F(BackendEncodeTest, SmallBatchesAreTheCodecs) {
    const CudaBackend backend;
    Random random(3);
    const Matrix x(300, 23, random);
    const auto kept = backend.keep(x.view());
    for (const CodecOptions& kind : kKinds) {
        const auto codec = trained(kind, x);
        Codes found;
        EXPECT_EQ(launches_of([&] { found = encoded(*codec, x.view(), backend); }), 0u);
        EXPECT_EQ(found, encoded(*codec, x.view(), cpu_backend()));
        EXPECT_TRUE(encoded(*codec, {x.data.data(), 0, 23}, CudaBackend(on_device())).empty());
    }
}

TEST_F(BackendEncodeTest, CodesWithoutAKernelAreTheCodecs) {
    const CudaBackend backend(on_device());
    Random random(4);
    const Matrix x(40, 23, random);
    const auto kept = backend.keep(x.view());
    for (const CodecOptions& kind :
         {CodecOptions{CodeKind::Float32}, CodecOptions{CodeKind::Bits, 0, 2}}) {
        const auto codec = trained(kind, x);
        Codes found;
        EXPECT_EQ(launches_of([&] { found = encoded(*codec, x.view(), backend); }), 0u);
        EXPECT_EQ(found, encoded(*codec, x.view(), cpu_backend()));
    }
}

Matrix residuals(const Matrix& x, const Matrix& centroids, const std::vector<uint32_t>& labels) {
    Matrix result(x.rows, x.cols);
    for (size_t i = 0; i < x.rows; ++i) {
        for (size_t j = 0; j < x.cols; ++j)
            result.row(i)[j] = x.row(i)[j] - centroids.row(labels[i])[j];
    }
    return result;
}

TEST_F(BackendEncodeTest, ResidualsAreMadeOnTheWay) {
    Random random(5);
    const Matrix x(300, 23, random, 0, 2), centroids(6, 23, random, 0, 1);
    std::vector<uint32_t> labels(x.rows);
    for (uint32_t& label : labels)
        label = static_cast<uint32_t>(random.below(6));
    const Matrix left = residuals(x, centroids, labels);
    for (const CodecOptions& kind : kKinds) {
        const auto codec = trained(kind, left);
        const Codes expected = encoded(*codec, left.view(), cpu_backend());
        for (const bool are_kept : {false, true}) {
            const CudaBackend backend(on_device(6000));
            const auto kept = are_kept ? backend.keep(x.view()) : nullptr;
            const auto kept_centroids = are_kept ? backend.keep(centroids.view()) : nullptr;
            Codes found(expected.size(), 0xffffffffu);
            const bool done = codec->encode_residuals(x.view(), labels.data(), centroids.view(),
                                                      found.data(), 2, backend);
            ASSERT_EQ(done, are_kept || is_product(kind));
            if (!done) continue;
            EXPECT_EQ(found, expected) << "kind " << static_cast<int>(kind.kind);
        }
        Codes codes(expected.size());
        EXPECT_FALSE(codec->encode_residuals(x.view(), labels.data(), centroids.view(),
                                             codes.data(), 1, cpu_backend()));
    }
}

TEST_F(BackendEncodeTest, ValuesThatDoNotFitAreNamed) {
    const CudaBackend backend(on_device(2000));
    Random random(6);
    Matrix x(300, 23, random);
    x.row(123)[4] = 70000.0f;
    const auto codec = make_codec({CodeKind::Float16}, 23);
    const auto kept = backend.keep(x.view());
    Codes codes(x.rows * codec->code_words());
    try {
        codec->encode(x.view(), codes.data(), 1, backend);
        ADD_FAILURE() << "no error";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::InvalidArgument);
        EXPECT_NE(std::string(error.what()).find("x[123, 4] = 70000"), std::string::npos);
    }
    EXPECT_GT(simt::counters().launches, 0u);
}

// Of more shared memory than a block has without asking, and of more than it can have.
TEST_F(BackendEncodeTest, WideSubspaces) {
    Random random(7);
    const Matrix x(270, 70, random);
    for (const int architecture : {75, 90}) {
        simt::config().architecture = architecture;
        const CudaBackend backend(on_device(size_t{1} << 20));
        for (const size_t subquantizers : {size_t{2}, size_t{3}}) {  // of 35 and 24 dimensions
            const auto codec = trained({CodeKind::Product8, subquantizers}, x);
            Codes codes(x.rows * codec->code_words());
            const bool done =
                backend.encode_rows({codec->view(), x.view(), nullptr, {}, codes.data(), 1});
            EXPECT_EQ(done, architecture == 90 || subquantizers == 3);
            if (!done) continue;
            EXPECT_EQ(codes, encoded(*codec, x.view(), cpu_backend()));
        }
    }
}

TEST_F(BackendEncodeTest, IsTheSameInAnyOrder) {
    Random random(8);
    const Matrix x(300, 23, random);
    for (const CodecOptions& kind : kKinds) {
        const auto codec = trained(kind, x);
        const Codes expected = encoded(*codec, x.view(), cpu_backend());
        for (uint64_t seed = 1; seed <= 4; ++seed) {
            start_in_order(seed);
            const CudaBackend backend(on_device(8192));
            const auto kept = backend.keep(x.view());
            EXPECT_EQ(encoded(*codec, x.view(), backend), expected) << "seed " << seed;
        }
    }
    EXPECT_EQ(simt::counters().device_bytes, 0u);
}

// A device whose backend leaves nothing to the CPU.
class EagerDevice final : public CudaDevice {
   public:
    EagerDevice() : CudaDevice(0), eager_(on_device(size_t{1} << 20)) {}
    const Backend& backend() const override { return eager_; }

   private:
    CudaBackend eager_;
};

class EagerSource final : public DeviceSource {
   public:
    std::vector<const Device*> list() const override { return {&device_}; }
    std::string why() const override { return ""; }

   private:
    EagerDevice device_;
};

// More than add() leaves to the host.
constexpr size_t kAdded = 4100, kDim = 10;

struct Added {
    std::vector<uint8_t> on_cpu, on_device;
    uint64_t launches;
};

// One trained index, to which the same rows are added here and there.
Added added(const std::string& spec, Metric metric, const Matrix& x) {
    const auto index = make_index(spec, {kDim, metric, 5});
    index->train(x.view());
    const auto other = CellIndex::from_bytes(index->to_bytes());
    index->add(x.view());
    other->to("cuda:0");
    const uint64_t launches = launches_of([&] { other->add(x.view()); });
    return {index->to_bytes(), other->to_bytes(), launches};
}

struct IndexCase {
    const char* spec;
    uint64_t launches;  // two to assign, one to rotate, one of each code
    Metric metric = Metric::L2;
};

TEST_F(BackendEncodeTest, AnIndexOfTheDeviceHasTheBytesOfTheCpus) {
    const EagerSource source;
    set_device_source(&source);
    Random random(9);
    const Matrix x(kAdded, kDim, random);
    for (const auto& [spec, launches, metric] :
         {IndexCase{"SQ8", 1}, IndexCase{"PQ5x4", 1}, IndexCase{"IVF4,Flat", 2},
          IndexCase{"IVF4,SQfp16", 3}, IndexCase{"IVF4,SQbf16nr", 3, Metric::Cosine},
          IndexCase{"IVF4,SQ8", 3}, IndexCase{"IVF4,SQ8nr", 3, Metric::Cosine},
          IndexCase{"IVF4,I8", 3}, IndexCase{"IVF4,PQ3", 3, Metric::Cosine},
          IndexCase{"IVF4,PQ10x4fs", 3}, IndexCase{"IVF4,RaBitQ", 4},
          IndexCase{"IVF4,RaBitQ", 4, Metric::InnerProduct}, IndexCase{"IVF4,RaBitQ2", 3},
          IndexCase{"IVF4,PQ5x4,Refine(SQfp16)", 4}, IndexCase{"RR,IVF4,PQ5nr,RFlat", 4}}) {
        const Added result = added(spec, metric, x);
        EXPECT_TRUE(result.on_cpu == result.on_device) << spec << ' ' << metric_name(metric);
        EXPECT_EQ(result.launches, launches) << spec << ' ' << metric_name(metric);
    }
    set_device_source(nullptr);
}

}  // namespace
}  // namespace nearcell::gpu
