// The umbrella header is enough for the whole way: make, train, add, search, measure.
#include <nearcell/index/index.h>

#include <gtest/gtest.h>

#include <vector>

#include <nearcell/core/random.h>

namespace {

TEST(Index, OneHeaderServesTheWholeWay) {
    constexpr size_t kRows = 1000, kDim = 24;
    nearcell::Random random(1);
    std::vector<float> values(kRows * kDim);
    for (float& value : values)
        value = static_cast<float>(random.normal());
    const nearcell::MatrixView<const float> rows(values.data(), kRows, kDim);
    for (const char* spec : {"Flat", "IVF16,Flat", "PCA12,IVF16,PQ4,RFlat", "OPQ4,PQ4x4fs,RFlat",
                             "IVF16,SQ8", "IVF16,I8", "IVF16,RaBitQ4", "L2norm,SQfp16"}) {
        const auto index = nearcell::make_index(spec, {.dim = kDim});
        EXPECT_EQ(index->spec(), spec);
        index->train(rows);
        index->add(rows);
        nearcell::SearchOptions options;
        options.k = 1;
        options.probes = 16;
        const nearcell::SearchResult found = index->search(rows, options);
        const nearcell::SearchResult exact =
            nearcell::exact_search(rows, rows, nearcell::Metric::L2, 1, 0);
        EXPECT_GT(nearcell::recall_at(found, {exact.ids.data(), kRows, 1}, 1), 0.95) << spec;
    }
}

}  // namespace
