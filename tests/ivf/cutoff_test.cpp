// SearchOptions::cutoff: what it leaves out, by its definition; who may use it; that nothing else
// changes it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <nearcell/core/error.h>
#include <nearcell/index/factory.h>

#include "ivf/model.h"

namespace nearcell {
namespace {

constexpr size_t kDim = 12, kRows = 900, kQueries = 40, kNeighbours = 5;
constexpr float kNone = std::numeric_limits<float>::infinity();

MatrixView<const float> view(const std::vector<float>& x) {
    return {x.data(), x.size() / kDim, kDim};
}

std::unique_ptr<CellIndex> filled_index(const std::string& spec, Metric metric) {
    auto index = trained_index(spec, kDim, metric);
    const std::vector<float> x = random_rows(kRows, kDim, 2);
    index->add(view(x));
    return index;
}

// Squared distances of a query, of length 1 for cosine, and the centroids, ascending.
std::vector<double> cell_distances(const CellIndex& index, const float* query, double& spread) {
    const std::vector<float> centroids = index.centroids();
    const size_t cells = index.options().cells;
    const bool cosine = index.metric() == Metric::Cosine;
    double length = 0;
    std::vector<double> mean(kDim, 0.0), distances;
    for (size_t j = 0; j < kDim; ++j) {
        length += static_cast<double>(query[j]) * static_cast<double>(query[j]);
        for (size_t c = 0; c < cells; ++c)
            mean[j] += static_cast<double>(centroids[c * kDim + j]) / static_cast<double>(cells);
    }
    double square = 0;
    for (size_t c = 0; c < cells; ++c) {
        double distance = 0, dot = 0;
        for (size_t j = 0; j < kDim; ++j) {
            const double x = static_cast<double>(centroids[c * kDim + j]);
            const double q = static_cast<double>(query[j]);
            distance += (q - x) * (q - x);
            dot += q * x / std::sqrt(length);
            square += (x - mean[j]) * (x - mean[j]);
        }
        distances.push_back(cosine ? 2 - 2 * dot : distance);
    }
    spread = cosine ? 1 : std::sqrt(square / static_cast<double>(cells));
    std::sort(distances.begin(), distances.end());
    return distances;
}

void expect_same(const SearchResult& a, size_t query, const SearchResult& b, size_t other) {
    for (size_t i = 0; i < a.k; ++i) {
        EXPECT_EQ(a.ids[query * a.k + i], b.ids[other * b.k + i]);
        EXPECT_EQ(a.scores[query * a.k + i], b.scores[other * b.k + i]);
    }
}

TEST(Cutoff, LeavesOutWhatItsDefinitionSays) {
    for (const char* spec :
         {"IVF30,Flat", "IVF30,SQ8", "IVF30,SQ8nr", "IVF30,PQ4x4", "IVF30,I8", "IVF30,SQfp16"}) {
        for (const Metric metric : {Metric::L2, Metric::Cosine}) {
            SCOPED_TRACE(std::string(spec) + " " + std::string(metric_name(metric)));
            const auto index = filled_index(spec, metric);
            const std::vector<float> q = random_rows(kQueries, kDim, 3);
            size_t compared = 0;
            for (const float cutoff : {0.05f, 0.3f, 0.8f, 2.0f}) {
                const SearchResult got = index->search(
                    view(q), {.k = kNeighbours, .probes = 20, .cutoff = cutoff, .margin = 100});
                for (size_t i = 0; i < kQueries; ++i) {
                    const MatrixView<const float> query = view(q).slice(i, 1);
                    const SearchResult first =
                        index->search(query, {.k = kNeighbours, .probes = 1, .margin = 100});
                    double spread = 0;
                    const std::vector<double> distances =
                        cell_distances(*index, query.row(0), spread);
                    const double score = static_cast<double>(first.scores[kNeighbours - 1]);
                    const double kth = metric == Metric::L2 ? score : 2 - 2 * score;
                    const double limit = distances[0] + static_cast<double>(cutoff) *
                                                            std::pow(spread, 1.5) * std::sqrt(kth) /
                                                            std::pow(distances[0], 0.25);
                    size_t least = 0, most = 0;  // rounding decides between them
                    for (size_t c = 0; c < 20; ++c) {
                        least += distances[c] < limit * (1 - 1e-4);
                        most += distances[c] < limit * (1 + 1e-4);
                    }
                    if (first.counts[0] < kNeighbours) least = most = 20;
                    if (least != most) continue;
                    const SearchResult expected =
                        index->search(query, {.k = kNeighbours, .probes = most, .margin = 100});
                    expect_same(got, i, expected, 0);
                    ++compared;
                }
            }
            EXPECT_GE(compared, 4 * kQueries * 9 / 10);
        }
    }
}

TEST(Cutoff, IsTheSameForAnyBatchAndThreads) {
    for (const char* spec :
         {"IVF30,RaBitQ,RFlat", "IVF30,SQ8nr", "IVF30,PQ4,RFlat", "IVF30,Flat"}) {
        SCOPED_TRACE(spec);
        const auto index = filled_index(spec, Metric::L2);
        const std::vector<float> q = random_rows(kQueries, kDim, 3);
        SearchOptions options{.k = kNeighbours, .probes = 25, .cutoff = 0.4f, .threads = 1};
        const SearchResult all = index->search(view(q), options);
        options.cutoff = kNone;
        EXPECT_LT(all.stats.scanned, index->search(view(q), options).stats.scanned);
        options.cutoff = 0.4f;
        uint64_t scanned = 0;
        for (size_t i = 0; i < kQueries; ++i) {
            options.threads = static_cast<int>(1 + i % 3);
            const SearchResult one = index->search(view(q).slice(i, 1), options);
            expect_same(all, i, one, 0);
            scanned += one.stats.scanned;
        }
        EXPECT_EQ(scanned, all.stats.scanned);
    }
}

TEST(Cutoff, DefaultsApplyWhereNoProbesAreGiven) {
    const auto index = filled_index("IVF30,Flat", Metric::L2);
    const std::vector<float> q = random_rows(kQueries, kDim, 3);
    index->set_defaults(20, 0, 0.3f);
    EXPECT_EQ(index->default_cutoff(), 0.3f);
    const auto opened = CellIndex::from_bytes(index->to_bytes());
    EXPECT_EQ(opened->default_cutoff(), 0.3f);
    const auto scanned = [&](const SearchOptions& options) {
        return opened->search(view(q), options).stats.scanned;
    };
    EXPECT_EQ(scanned({.k = kNeighbours}),
              scanned({.k = kNeighbours, .probes = 20, .cutoff = 0.3f}));
    EXPECT_EQ(scanned({.k = kNeighbours, .probes = 20}),
              scanned({.k = kNeighbours, .probes = 20, .cutoff = kNone}));
    EXPECT_EQ(scanned({.k = kNeighbours, .cutoff = kNone}),
              scanned({.k = kNeighbours, .probes = 20}));
    EXPECT_LT(scanned({.k = kNeighbours}), scanned({.k = kNeighbours, .probes = 20}));
    index->set_defaults(20, 0);
    EXPECT_EQ(index->default_cutoff(), kNone);
}

TEST(Cutoff, RefusesWhatHasNoMeaning) {
    const std::vector<float> q = random_rows(1, kDim, 3);
    const auto refused = [&](Metric metric, float cutoff) {
        const auto index = filled_index("IVF9,Flat", metric);
        try {
            index->search(view(q), {.cutoff = cutoff});
        } catch (const Error& error) {
            EXPECT_NE(std::string(error.what()).find("cutoff = "), std::string::npos);
            return true;
        }
        return false;
    };
    EXPECT_TRUE(refused(Metric::L2, -1.0f));
    EXPECT_TRUE(refused(Metric::L2, std::nanf("")));
    EXPECT_TRUE(refused(Metric::InnerProduct, 0.5f));
    EXPECT_TRUE(refused(Metric::L1, 0.5f));
    EXPECT_FALSE(refused(Metric::InnerProduct, kNone));
    EXPECT_FALSE(refused(Metric::L2, 0.5f));
    EXPECT_THROW(filled_index("IVF9,Flat", Metric::InnerProduct)->set_defaults(3, 0, 0.5f), Error);
    EXPECT_THROW(filled_index("IVF9,Flat", Metric::L2)->set_defaults(3, 0, 0.0f), Error);
}

}  // namespace
}  // namespace nearcell
