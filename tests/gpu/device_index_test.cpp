// Indexes moved to the emulated GPU: searches there against the same searches on the CPU, for every
// kind of code, metric and transform, with filters, changes and little memory.
#include <nearcell/gpu/cuda_device.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>
#include <nearcell/gpu/simt/emulator.h>
#include <nearcell/index/factory.h>

namespace nearcell::gpu {
namespace {

constexpr size_t kDim = 24, kRows = 500, kQueries = 9;

// Clustered, so that cells mean something.
std::vector<float> clustered(size_t rows, size_t dim, uint64_t seed) {
    Random random(seed), centres(7);
    std::vector<float> middle(8 * dim);
    for (float& value : middle)
        value = static_cast<float>(3 * centres.normal());
    std::vector<float> values(rows * dim);
    for (size_t i = 0; i < rows; ++i) {
        const size_t cluster = random.below(8);
        for (size_t j = 0; j < dim; ++j)
            values[i * dim + j] = middle[cluster * dim + j] + static_cast<float>(random.normal());
    }
    return values;
}

MatrixView<const float> view(const std::vector<float>& values, size_t dim = kDim) {
    return {values.data(), values.size() / dim, dim};
}

class DeviceIndexTest : public testing::Test {
   protected:
    DeviceIndexTest()
        : base_(clustered(kRows, kDim, 1)), queries_(clustered(kQueries, kDim, 2)) {
        simt::reset();
        set_device_source(&cuda_devices());
    }
    ~DeviceIndexTest() override {
        set_device_source(nullptr);
        simt::reset();
    }

    std::unique_ptr<CellIndex> make(const std::string& spec, Metric metric) const {
        auto index = make_index(spec, {kDim, metric, 5});
        index->train(view(base_));
        index->add(view(base_));
        return index;
    }

    std::vector<float> base_, queries_;
};

DeviceOptions small_chunks() {
    DeviceOptions options;
    options.chunk_blocks = 2;
    return options;
}

// Scores within the roundings of float32; where neighbours differ, their scores must not.
void expect_close(const SearchResult& found, const SearchResult& truth, const std::string& what) {
    ASSERT_EQ(found.counts, truth.counts) << what;
    ASSERT_EQ(found.ids.size(), truth.ids.size()) << what;
    for (size_t i = 0; i < truth.ids.size(); ++i) {
        const float wanted = truth.scores[i];
        ASSERT_NEAR(found.scores[i], wanted, 2e-5f * (1 + std::fabs(wanted)))
            << what << " query " << i / truth.k << " place " << i % truth.k;
    }
    size_t others = 0;
    for (size_t i = 0; i < truth.ids.size(); ++i)
        others += found.ids[i] != truth.ids[i];
    ASSERT_LE(others, truth.ids.size() / 20) << what;
}

// Where codes' bounds may fail, devices let others pass: as near in all, or nearer.
void expect_as_near(const SearchResult& found, const SearchResult& truth, const std::string& what) {
    ASSERT_EQ(found.counts, truth.counts) << what;
    const double sum = std::accumulate(found.scores.begin(), found.scores.end(), 0.0);
    const double wanted = std::accumulate(truth.scores.begin(), truth.scores.end(), 0.0);
    ASSERT_NEAR(sum, wanted, 0.01 * std::fabs(wanted)) << what;
}

TEST_F(DeviceIndexTest, FindsWhatTheCpuFinds) {
    const std::vector<std::string> specs = {
        "Flat",          "IVF8,Flat",           "IVF8,SQfp16",       "IVF8,SQ8",
        "SQ8",           "IVF8,PQ8",            "PQ8x4",             "IVF8,PQ8x4,RFlat",
        "IVF8,RaBitQ",   "IVF8,RaBitQ4",        "IVF8,RaBitQ,RFlat", "PCA12,IVF8,Flat",
        "OPQ8,IVF8,PQ8", "RR24,IVF8,Flat",      "L2norm,IVF8,SQ8",   "IVF8,SQ8,Refine(SQfp16)",
    };
    for (const Metric metric : {Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1}) {
        for (const std::string& spec : specs) {
            const std::string what = spec + " " + std::string(metric_name(metric));
            std::unique_ptr<CellIndex> index;
            try {
                index = make(spec, metric);
            } catch (const Error& error) {
                ASSERT_EQ(error.code(), StatusCode::Unsupported) << what << ": " << error.what();
                continue;
            }
            SearchOptions search;
            search.k = 6;
            search.probes = 4;
            const SearchResult truth = index->search(view(queries_), search);
            index->to("cuda:0", small_chunks());
            const SearchResult found = index->search(view(queries_), search);
            if (index->reranks_by_bound())
                expect_as_near(found, truth, what);
            else
                expect_close(found, truth, what);
            EXPECT_GT(found.stats.scanned, 0u) << what;
        }
    }
}

}  // namespace
}  // namespace nearcell::gpu
