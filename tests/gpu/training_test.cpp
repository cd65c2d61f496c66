// k-means, OPQ and codecs with CudaBackend on the emulated device: every byte is what the CPU
// gives.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include <nearcell/quantize/codec.h>
#include <nearcell/quantize/kmeans.h>
#include <nearcell/quantize/opq.h>

#include "gpu/backend_support.h"

namespace nearcell::gpu {
namespace {

class DeviceTrainingTest : public CudaBackendTest {
   protected:
    const CudaBackend backend{on_device(1 << 16)};
};

// Rows around some points, with repeated ones, so that clusters fall empty.
Matrix clustered(size_t rows, size_t cols, Random& random) {
    const Matrix middle(6, cols, random, 0);
    Matrix x(rows, cols);
    for (size_t i = 0; i < rows; ++i) {
        const float* const centre = middle.row(random.below(6));
        const double width = i % 3 == 0 ? 0 : 0.2;
        for (size_t j = 0; j < cols; ++j)
            x.row(i)[j] = centre[j] + static_cast<float>(width * random.normal());
    }
    return x;
}

KMeansOptions options_of(KMeansMethod method, Metric metric, size_t clusters) {
    KMeansOptions options;
    options.clusters = clusters;
    options.method = method;
    options.metric = metric;
    options.iterations = 5;
    options.threads = 2;
    return options;
}

void expect_same_clusters(const Matrix& x, const KMeansOptions& options, const Backend& backend,
                          const std::string& what) {
    const KMeansResult expected = train_kmeans(x.view(), options, cpu_backend());
    const uint64_t before = simt::counters().launches;
    const KMeansResult found = train_kmeans(x.view(), options, backend);
    EXPECT_GT(simt::counters().launches, before) << what;
    EXPECT_EQ(found.centroids, expected.centroids) << what;
    EXPECT_EQ(found.objective, expected.objective) << what;
    EXPECT_EQ(found.empty_splits, expected.empty_splits) << what;
}

TEST_F(DeviceTrainingTest, ClustersAreThoseOfTheCpu) {
    Random random(1);
    const Matrix x = clustered(300, 10, random);
    for (const Metric metric : {Metric::L2, Metric::InnerProduct, Metric::Cosine}) {
        for (const KMeansMethod method :
             {KMeansMethod::Lloyd, KMeansMethod::Hierarchical, KMeansMethod::MiniBatch}) {
            KMeansOptions options = options_of(method, metric, 20);
            options.seeding = metric == Metric::Cosine ? Seeding::Random : Seeding::PlusPlus;
            expect_same_clusters(x, options, backend,
                                 std::string(metric_name(metric)) + ", method " +
                                     std::to_string(static_cast<int>(method)));
        }
    }
}

TEST_F(DeviceTrainingTest, WeightsAndWarmStartsToo) {
    Random random(2);
    const Matrix x = clustered(300, 12, random);
    std::vector<float> weights(x.rows);
    for (float& weight : weights)
        weight = random.below(5) == 0 ? 0.0f : static_cast<float>(random.uniform());
    KMeansOptions options = options_of(KMeansMethod::Lloyd, Metric::L2, 9);
    options.weights = weights;
    options.initial = x.view().slice(7, 9);
    expect_same_clusters(x, options, backend, "weights");
}

// Of one iteration rows are uploaded, labels and centroids come back, and nothing stays.
TEST_F(DeviceTrainingTest, LeavesNothingOnTheDevice) {
    Random random(3);
    const Matrix x = clustered(200, 8, random);
    {
        const CudaBackend own(on_device());
        train_kmeans(x.view(), options_of(KMeansMethod::Hierarchical, Metric::L2, 16), own);
    }
    EXPECT_EQ(simt::counters().device_bytes, 0u);
}

struct Coded {
    std::vector<float> parameters;
    std::vector<uint32_t> codes;
};

Coded coded(const CodecOptions& options, const Matrix& x, const Backend& backend) {
    const std::unique_ptr<Codec> codec = make_codec(options, x.cols);
    CodecTraining training;
    training.iterations = 3;
    training.threads = 2;
    codec->train(x.view(), training, backend);
    Coded result{codec->parameters(), std::vector<uint32_t>(x.rows * codec->view().words)};
    codec->encode(x.view(), result.codes.data(), 2, backend);
    return result;
}

TEST_F(DeviceTrainingTest, CodesAreThoseOfTheCpu) {
    Random random(4);
    const Matrix x(270, 10, random, 0, 1);
    const CodecOptions kinds[] = {
        {CodeKind::Product8, 3},
        {CodeKind::Product4, 5},
        {CodeKind::RangeInt8},
        {CodeKind::Bits, 0, 1},
        {CodeKind::ScaledInt8, 0, 8, false},
        {CodeKind::Float16},
    };
    for (const CodecOptions& kind : kinds) {
        const std::string what = "kind " + std::to_string(static_cast<int>(kind.kind));
        const Coded expected = coded(kind, x, cpu_backend()), found = coded(kind, x, backend);
        EXPECT_EQ(found.parameters, expected.parameters) << what;
        EXPECT_EQ(found.codes, expected.codes) << what;
    }
    EXPECT_GT(simt::counters().launches, 0u);
}

TEST_F(DeviceTrainingTest, RotationsOfOpqAreThoseOfTheCpu) {
    Random random(5);
    const Matrix x = clustered(200, 8, random);
    OpqOptions options;
    options.subquantizers = 2;
    options.bits = 4;
    options.iterations = 2;
    options.threads = 2;
    const std::vector<float> expected = train_opq(x.view(), options, cpu_backend());
    const uint64_t before = simt::counters().launches;
    EXPECT_EQ(train_opq(x.view(), options, backend), expected);
    EXPECT_GT(simt::counters().launches, before);
}

}  // namespace
}  // namespace nearcell::gpu
