// Searches at the edges of what they promise: filters that few pass, every candidate scored again,
// ranges, and arguments that cannot be.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>
#include <nearcell/index/exact_search.h>
#include <nearcell/index/factory.h>

namespace nearcell {
namespace {

std::vector<float> normal_values(size_t count, uint64_t seed) {
    Random random(seed);
    std::vector<float> values(count);
    for (float& value : values)
        value = static_cast<float>(random.normal());
    return values;
}

// Each row to length one.
void scale_to_one(std::vector<float>& rows, size_t dim) {
    for (size_t begin = 0; begin < rows.size(); begin += dim) {
        float square = 0;
        for (size_t j = begin; j < begin + dim; ++j)
            square += rows[j] * rows[j];
        for (size_t j = begin; j < begin + dim; ++j)
            rows[j] /= std::sqrt(square);
    }
}

std::unique_ptr<CellIndex> filled(const std::string& spec, Metric metric,
                                  MatrixView<const float> base,
                                  const std::vector<int64_t>& ids = {}) {
    auto index = make_index(spec, {base.cols, metric, 3});
    index->train(base);
    if (ids.empty())
        index->add(base);
    else
        index->add(base, ids);
    return index;
}

// However it is written: an upper bound of how many pass is far too high where ids are sparse.
TEST(CellIndexSearch, TheSameFilterFindsTheSame) {
    constexpr size_t kRows = 3000, kDim = 8, kStep = 1000, kPassing = 20;
    const std::vector<float> values = normal_values(kRows * kDim, 1), asked = normal_values(80, 2);
    const MatrixView<const float> base(values.data(), kRows, kDim), queries(asked.data(), 10, kDim);
    std::vector<int64_t> ids;
    for (size_t i = 0; i < kRows; ++i)
        ids.push_back(static_cast<int64_t>(i * kStep));
    const auto index = filled("IVF64,Flat", Metric::L2, base, ids);
    std::vector<int64_t> passing(ids.begin() + 100, ids.begin() + 100 + kPassing);
    const IdFilter list = IdFilter::list(passing);
    const IdFilter range = IdFilter::range(passing.front(), passing.back() + 1);
    SearchOptions options;
    options.filter = &list;
    const SearchResult truth = index->search(queries, options);
    options.filter = &range;
    const SearchResult found = index->search(queries, options);
    EXPECT_EQ(truth.counts, std::vector<size_t>(10, 10));
    EXPECT_EQ(found.ids, truth.ids);
    EXPECT_EQ(found.scores, truth.scores);
    EXPECT_EQ(found.counts, truth.counts);
    options.probes = 2;  // who names them gets no more
    const SearchResult few = index->search(queries, options);
    EXPECT_LT(*std::min_element(few.counts.begin(), few.counts.end()), 10u);
}

// RaBitQ's bounds may fail: with a depth they leave nothing out.
TEST(CellIndexSearch, EveryCandidateIsScoredAgain) {
    constexpr size_t kRows = 1500, kDim = 60, kQueries = 100;
    const std::vector<float> values = normal_values(kRows * kDim, 3);
    const std::vector<float> asked = normal_values(kQueries * kDim, 4);
    const MatrixView<const float> base(values.data(), kRows, kDim);
    const MatrixView<const float> queries(asked.data(), kQueries, kDim);
    for (const char* spec : {"RaBitQ,RFlat", "RaBitQ2,RFlat", "PQ12x4fs,RFlat"}) {
        const auto index = filled(spec, Metric::L2, base);
        SearchOptions options;
        options.rerank = kRows;
        const SearchResult found = index->search(queries, options);
        EXPECT_EQ(found.ids, exact_search(base, queries, Metric::L2, 10, 0).ids) << spec;
    }
}

// By the scores that are reported, which are clipped.
TEST(CellIndexSearch, RangesAreStrictAndInOrder) {
    constexpr size_t kRows = 400, kDim = 20;
    std::vector<float> values = normal_values(kRows * kDim, 5);
    for (size_t i = 0; i < kRows; ++i) {  // multiples of a few rows
        for (size_t j = 0; j < kDim; ++j)
            values[i * kDim + j] = values[i % 7 * kDim + j] * static_cast<float>(1 + i % 5);
    }
    const MatrixView<const float> base(values.data(), kRows, kDim);
    for (const char* spec : {"Flat", "SQfp16", "SQ8"}) {
        const auto index = filled(spec, Metric::Cosine, base);
        const RangeResult none = index->range_search(base.slice(0, 20), 1.0f, {});
        EXPECT_EQ(none.ids.size(), 0u) << spec;
        const RangeResult found = index->range_search(base.slice(0, 20), 0.5f, {});
        for (size_t q = 0; q < found.queries; ++q) {
            for (size_t i = found.offsets[q] + 1; i < found.offsets[q + 1]; ++i) {
                const bool ordered =
                    found.scores[i - 1] > found.scores[i] ||
                    (found.scores[i - 1] == found.scores[i] && found.ids[i - 1] < found.ids[i]);
                EXPECT_TRUE(ordered) << spec << ", query " << q << ", hit " << i;
            }
        }
    }
    const auto codes = filled("RaBitQ4", Metric::L2, base);
    EXPECT_EQ(codes->range_search(base.slice(0, 20), 0.0f, {}).ids.size(), 0u);
}

// Cells for inner products are of directions; what is stored beside them is as good for short rows.
TEST(CellIndexSearch, ShortVectorsLoseNothing) {
    constexpr size_t kRows = 1000, kDim = 16, kQueries = 50;
    std::vector<float> values = normal_values(kRows * kDim, 10);
    std::vector<float> asked = normal_values(kQueries * kDim, 11);
    for (float& value : values)
        value *= 0.25f;
    const MatrixView<const float> base(values.data(), kRows, kDim);
    const MatrixView<const float> queries(asked.data(), kQueries, kDim);
    SearchOptions options;
    options.probes = 8;
    for (const char* spec : {"IVF8,SQ8", "IVF8,I8", "IVF8,PQ4", "IVF8,RaBitQ4", "IVF8,RaBitQ"}) {
        const SearchResult found =
            filled(spec, Metric::InnerProduct, base)->search(queries, options);
        for (const float scale : {0x1p-5f, 0x1p-20f}) {
            std::vector<float> shorter = values;
            for (float& value : shorter)
                value *= scale;
            const auto index = filled(spec, Metric::InnerProduct, {shorter.data(), kRows, kDim});
            EXPECT_EQ(index->search(queries, options).ids, found.ids) << spec << " " << scale;
        }
    }
}

// No score is below -1, though an estimate may be.
TEST(CellIndexSearch, RangesBelowTheLeastCosineHaveAll) {
    constexpr size_t kRows = 300, kDim = 16;
    const std::vector<float> values = normal_values(kRows * kDim, 9);
    const MatrixView<const float> base(values.data(), kRows, kDim);
    std::vector<float> opposite = values;
    for (float& value : opposite)
        value = -value;
    const MatrixView<const float> queries(opposite.data(), kRows, kDim);
    for (const char* spec :
         {"RaBitQ", "RaBitQ2", "SQ8", "PQ4x4fs", "PQ2", "Flat", "RaBitQ,RFlat"}) {
        const auto index = filled(spec, Metric::Cosine, base);
        const RangeResult all = index->range_search(queries, -1.0001f, {});
        EXPECT_EQ(all.ids.size(), kRows * kRows) << spec;
        EXPECT_GE(*std::min_element(all.scores.begin(), all.scores.end()), -1.0f) << spec;
    }
}

// What is left out by bounds is worse than what is found, where a column is the same in all rows
// and where centroids lie elsewhere in it.
TEST(CellIndexSearch, BoundsHoldOfConstantColumns) {
    constexpr size_t kRows = 3000, kDim = 12, kQueries = 20, kNear = 50;
    std::vector<float> values = normal_values(kRows * kDim, 7);
    for (size_t i = 0; i < kRows; ++i)
        values[i * kDim + 5] = 40.0f;
    const std::vector<float> asked = normal_values(kQueries * kDim, 8);
    const MatrixView<const float> base(values.data(), kRows, kDim);
    const MatrixView<const float> queries(asked.data(), kQueries, kDim);
    for (const Metric metric : {Metric::L2, Metric::InnerProduct, Metric::Cosine}) {
        for (const char* spec : {"SQ8", "IVF6,SQ8", "IVF6,SQ8nr"}) {
            const auto trained = filled(spec, metric, base);
            std::vector<float> centroids = trained->centroids();
            for (size_t i = 5; i < centroids.size(); i += kDim)
                centroids[i] -= 35.0f;
            if (metric == Metric::Cosine) scale_to_one(centroids, kDim);
            const auto moved = make_index(spec, {kDim, metric, 3});
            moved->set_trained({centroids.data(), centroids.size() / kDim, kDim},
                               trained->codec_parameters());
            moved->add(base);
            for (const CellIndex* index : {trained.get(), moved.get()}) {
                SCOPED_TRACE(testing::Message() << spec << " " << metric_name(metric) << " moved "
                                                << (index == moved.get()));
                SearchOptions options;
                options.probes = index->options().cells;
                options.k = kRows;
                const SearchResult all = index->search(queries, options);
                options.k = kNear;
                const SearchResult near = index->search(queries, options);
                for (size_t q = 0; q < kQueries; ++q) {
                    const std::span<const int64_t> ids(&all.ids[q * kRows], kNear);
                    const std::span<const float> scores(&all.scores[q * kRows], kNear + 1);
                    EXPECT_TRUE(std::equal(ids.begin(), ids.end(), &near.ids[q * kNear]));
                    const RangeResult found =
                        index->range_search(queries.slice(q, 1), scores.back(), options);
                    const auto ties = std::count(scores.begin(), scores.end(), scores.back());
                    ASSERT_EQ(found.ids.size(), scores.size() - static_cast<size_t>(ties));
                    EXPECT_TRUE(std::equal(found.ids.begin(), found.ids.end(), ids.begin()));
                }
            }
        }
    }
}

template <class Call>
void expect_refused(const std::string& words, const Call& call) {
    try {
        call();
        ADD_FAILURE() << "not refused: " << words;
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
}

TEST(CellIndexSearch, RefusesWhatCannotBe) {
    const std::vector<float> values = normal_values(100 * 4, 6);
    const MatrixView<const float> base(values.data(), 100, 4);
    const auto index = filled("Flat", Metric::L2, base);
    SearchOptions options;
    options.k = size_t{1} << 62;
    expect_refused("k = ", [&] { index->search(base.slice(0, 4), options); });
    expect_refused("k = ", [&] { exact_search(base, base, Metric::L2, SIZE_MAX / 2, 0); });
    expect_refused("metric = 9", [&] { exact_search(base, base, static_cast<Metric>(9), 1, 0); });
    Vectors odd(base);
    odd.type = static_cast<ElementType>(9);
    expect_refused("type", [&] { index->search(odd, {}); });
    expect_refused("type", [&] { index->add(odd); });
    Vectors overlapping(base);
    overlapping.stride = 3;
    expect_refused("stride", [&] { index->add(overlapping); });
    const std::vector<int64_t> ids{0, 1};
    expect_refused("null", [&] { index->reconstruct(ids, {nullptr, 2, 4}); });
    const auto cells = make_index("IVF4,Flat", {4, Metric::L2, 3});
    expect_refused("null", [&] { cells->set_trained({nullptr, 4, 4}, {}); });
    EXPECT_EQ(index->size(), 100u);
}

}  // namespace
}  // namespace nearcell
