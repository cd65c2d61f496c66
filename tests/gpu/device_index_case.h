// Indexes whose searches on the emulated GPU are compared with those on the CPU.
#pragma once

#include <nearcell/gpu/cuda_device.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>
#include <nearcell/gpu/session.h>
#include <nearcell/gpu/simt/emulator.h>
#include <nearcell/index/factory.h>

namespace nearcell::gpu {

constexpr size_t kDim = 24, kRows = 500, kQueries = 9;

// Clustered, so that cells mean something.
inline std::vector<float> clustered(size_t rows, size_t dim, uint64_t seed) {
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

inline MatrixView<const float> view(const std::vector<float>& values, size_t dim = kDim) {
    return {values.data(), values.size() / dim, dim};
}

class DeviceIndexTest : public testing::Test {
   protected:
    DeviceIndexTest() : base_(clustered(kRows, kDim, 1)), queries_(clustered(kQueries, kDim, 2)) {
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

inline DeviceOptions small_chunks() {
    DeviceOptions options;
    options.chunk_blocks = 2;
    return options;
}

// Scores within the roundings of float32; where neighbours differ, their scores must not.
inline void expect_close(const SearchResult& found, const SearchResult& truth,
                         const std::string& what) {
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
inline void expect_as_near(const SearchResult& found, const SearchResult& truth,
                           const std::string& what) {
    ASSERT_EQ(found.counts, truth.counts) << what;
    const double sum = std::accumulate(found.scores.begin(), found.scores.end(), 0.0);
    const double wanted = std::accumulate(truth.scores.begin(), truth.scores.end(), 0.0);
    ASSERT_NEAR(sum, wanted, 0.01 * std::fabs(wanted)) << what;
}

}  // namespace nearcell::gpu
