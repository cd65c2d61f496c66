// recall_at by hand, and tune(): cheapest setting, the same on every run, true to other queries.
#include <nearcell/index/tune.h>

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nearcell/core/random.h>
#include <nearcell/index/exact_search.h>
#include <nearcell/index/factory.h>

namespace nearcell {
namespace {

constexpr size_t kDim = 16;
constexpr size_t kNeighbours = 10;

// Clustered rows, and queries of the same distribution with their true neighbours.
struct Sample {
    std::vector<float> rows, query_rows;
    std::vector<int64_t> truth;
    size_t query_count = 0;

    Sample(size_t row_count, size_t queries) : query_count(queries) {
        Random random(5);
        std::vector<float> centers(60 * kDim);
        for (float& value : centers)
            value = static_cast<float>(2 * random.normal());
        const auto draw = [&](size_t count) {
            std::vector<float> values(count * kDim);
            for (size_t i = 0; i < count; ++i) {
                const size_t center = random.below(60);
                for (size_t j = 0; j < kDim; ++j) {
                    values[i * kDim + j] =
                        centers[center * kDim + j] + static_cast<float>(random.normal());
                }
            }
            return values;
        };
        rows = draw(row_count);
        query_rows = draw(queries);
        truth = exact_search(base(), this->queries(), Metric::L2, kNeighbours, 0).ids;
    }
    Vectors base() const { return MatrixView(rows.data(), rows.size() / kDim, kDim); }
    Vectors queries() const { return MatrixView(query_rows.data(), query_count, kDim); }
    MatrixView<const int64_t> true_ids() const { return {truth.data(), query_count, kNeighbours}; }
};

const Sample& sample() {
    static const Sample shared(4000, 1000);
    return shared;
}

std::unique_ptr<CellIndex> build(const std::string& spec) {
    std::unique_ptr<CellIndex> index = make_index(spec, {.dim = kDim});
    index->train(sample().base());
    index->add(sample().base());
    return index;
}

double recall_of(const CellIndex& index, size_t probes, size_t rerank, size_t first, size_t count) {
    SearchOptions options;
    options.k = kNeighbours;
    options.probes = probes;
    options.rerank = rerank;
    const SearchResult result = index.search(sample().queries().slice(first, count), options);
    return recall_at(result, sample().true_ids().slice(first, count), kNeighbours);
}

// Tunes on the first `count` queries.
TuneResult tune_some(CellIndex& index, size_t count, double recall, int threads = 0) {
    TuneOptions options;
    options.recall = recall;
    options.k = kNeighbours;
    options.threads = threads;
    return tune(index, sample().queries().slice(0, count), sample().true_ids().slice(0, count),
                options);
}

SearchResult result_of(std::vector<int64_t> ids, size_t queries, size_t k) {
    SearchResult result;
    result.queries = queries;
    result.k = k;
    result.ids = std::move(ids);
    return result;
}

TEST(RecallAt, CountsSharedIds) {
    const std::vector<int64_t> truth = {1, 2, 3, 4, 5, 6};
    const MatrixView<const int64_t> view(truth.data(), 2, 3);
    EXPECT_EQ(recall_at(result_of({1, 2, 3, 6, 5, 4}, 2, 3), view, 3), 1.0);
    EXPECT_EQ(recall_at(result_of({3, 1, 9, 7, 8, 4}, 2, 3), view, 3), 0.5);
    EXPECT_EQ(recall_at(result_of({3, 1, 9, 4, 8, 7}, 2, 3), view, 1), 0.5) << "first of each only";
    EXPECT_EQ(recall_at(result_of({1, 1, 1, 4, 4, 4}, 2, 3), view, 3), 2.0 / 6.0) << "counted once";
}

TEST(RecallAt, LeavesMissingIdsOut) {
    const std::vector<int64_t> truth = {1, -1, -1, 4, 5, -1};
    const MatrixView<const int64_t> view(truth.data(), 2, 3);
    EXPECT_EQ(recall_at(result_of({1, -1, -1, 4, 9, -1}, 2, 3), view, 3), 2.0 / 3.0);
    const std::vector<int64_t> none(6, -1);
    EXPECT_EQ(recall_at(result_of(none, 2, 3), {none.data(), 2, 3}, 3), 1.0);
}

TEST(RecallAt, RefusesShapesThatDoNotFit) {
    const std::vector<int64_t> truth(6, 0);
    const SearchResult result = result_of(truth, 2, 3);
    EXPECT_THROW(recall_at(result, {truth.data(), 2, 3}, 0), Error);
    EXPECT_THROW(recall_at(result, {truth.data(), 2, 3}, 4), Error);
    EXPECT_THROW(recall_at(result, {truth.data(), 3, 2}, 2), Error);
    EXPECT_THROW(recall_at(result, {truth.data(), 2, 2, 3}, 3), Error);
}

// With so few queries the target is not raised, so the least number of probes can be found by hand.
TEST(Tune, FindsTheFewestProbes) {
    const std::unique_ptr<CellIndex> index = build("IVF64,Flat");
    for (const double target : {0.3, 0.8, 0.95, 1.0}) {
        const TuneResult result = tune_some(*index, 100, target);
        size_t fewest = 1;
        while (recall_of(*index, fewest, 0, 0, 100) < target)
            ++fewest;
        EXPECT_TRUE(result.reached);
        EXPECT_GE(result.chosen.recall, target);
        size_t plain = 64;  // without a cutoff
        for (const OperatingPoint& point : result.tried) {
            if (!std::isfinite(point.cutoff) && point.recall >= target)
                plain = std::min(plain, point.probes);
        }
        EXPECT_GE(plain, fewest);
        EXPECT_LE(plain, fewest + fewest / 16) << target;
        EXPECT_EQ(index->default_probes(), result.chosen.probes);
        EXPECT_EQ(index->default_cutoff(), result.chosen.cutoff);
        if (!std::isfinite(result.chosen.cutoff)) {
            EXPECT_EQ(result.chosen.probes, plain);
            continue;
        }
        const Vectors queries = sample().queries();
        EXPECT_LT(index->search(queries, {.k = kNeighbours}).stats.scanned,
                  index->search(queries, {.k = kNeighbours, .probes = plain}).stats.scanned);
    }
}

TEST(Tune, HoldsOnOtherQueries) {
    for (const char* spec : {"IVF64,Flat", "IVF64,PQ4,RFlat", "IVF64,SQ8", "PQ4x4fs,Refine(SQ8)",
                             "IVF64,RaBitQ,RFlat"}) {
        const std::unique_ptr<CellIndex> index = build(spec);
        for (const double target : {0.7, 0.9}) {
            const TuneResult result = tune_some(*index, 500, target);
            ASSERT_TRUE(result.reached) << spec;
            EXPECT_GE(recall_of(*index, 0, 0, 500, 500), target) << spec;
            EXPECT_EQ(recall_of(*index, 0, 0, 0, 500), result.chosen.recall)
                << spec << ": the defaults are the chosen setting";
        }
    }
}

TEST(Tune, ChoosesTheSameForAnyThreads) {
    const std::unique_ptr<CellIndex> index = build("IVF64,PQ4,RFlat");
    const TuneResult one = tune_some(*index, 300, 0.9, 1);
    const TuneResult three = tune_some(*index, 300, 0.9, 3);
    EXPECT_EQ(one.chosen.probes, three.chosen.probes);
    EXPECT_EQ(one.chosen.rerank, three.chosen.rerank);
    ASSERT_EQ(one.tried.size(), three.tried.size());
    for (size_t i = 0; i < one.tried.size(); ++i) {
        EXPECT_EQ(one.tried[i].probes, three.tried[i].probes);
        EXPECT_EQ(one.tried[i].rerank, three.tried[i].rerank);
        EXPECT_EQ(one.tried[i].recall, three.tried[i].recall);
    }
}

TEST(Tune, TakesLessWorkThanTheDeepestReranking) {
    const std::unique_ptr<CellIndex> index = build("IVF64,PQ4,RFlat");
    const TuneResult result = tune_some(*index, 300, 0.8);
    EXPECT_GE(result.chosen.rerank, kNeighbours);
    EXPECT_LT(result.chosen.rerank, 640u);
}

// Codes that bound their error are asked first; where their bounds lose too much, a number of
// candidates to re-rank is looked for.
TEST(Tune, PrefersTheBoundsOfRaBitQCodes) {
    const std::unique_ptr<CellIndex> index = build("IVF64,RaBitQ,RFlat");
    EXPECT_TRUE(index->reranks_by_bound());
    const TuneResult usual = tune_some(*index, 500, 0.9);
    EXPECT_TRUE(usual.reached);
    EXPECT_EQ(usual.chosen.rerank, 0u);
    const TuneResult perfect = tune_some(*index, 500, 1.0);
    EXPECT_GE(perfect.chosen.recall, usual.chosen.recall);
    EXPECT_TRUE(perfect.reached || perfect.chosen.recall > 0.99);
}

// Trials by bounds must not take the index's depth instead.
TEST(Tune, FindsTheSameWhateverTheDefaultsWere) {
    for (const char* spec : {"IVF16,RaBitQ,RFlat", "IVF16,PQ4,RFlat", "IVF16,Flat"}) {
        const std::unique_ptr<CellIndex> index = build(spec);
        const TuneResult first = tune_some(*index, 100, 0.9);
        const size_t chosen = index->default_rerank();
        index->set_defaults(3, index->options().rerank ? kNeighbours : 0, 0.5F);
        const TuneResult second = tune_some(*index, 100, 0.9);
        EXPECT_EQ(index->default_rerank(), chosen) << spec;
        EXPECT_EQ(index->default_probes(), first.chosen.probes) << spec;
        EXPECT_EQ(recall_of(*index, 0, 0, 0, 100), second.chosen.recall) << spec;
        ASSERT_EQ(first.tried.size(), second.tried.size()) << spec;
        for (size_t i = 0; i < first.tried.size(); ++i)
            EXPECT_EQ(first.tried[i].recall, second.tried[i].recall) << spec;
    }
}

TEST(Tune, ParetoHasNoDominatedPoint) {
    const std::unique_ptr<CellIndex> index = build("IVF64,PQ4,RFlat");
    const TuneResult result = tune_some(*index, 300, 0.95);
    ASSERT_FALSE(result.pareto.empty());
    const auto beats = [](const OperatingPoint& a, const OperatingPoint& b) {
        return a.recall >= b.recall && a.queries_per_second >= b.queries_per_second;
    };
    for (size_t i = 0; i < result.pareto.size(); ++i) {
        for (size_t j = 0; j < result.pareto.size(); ++j) {
            EXPECT_TRUE(i == j || !beats(result.pareto[i], result.pareto[j]));
        }
        EXPECT_TRUE(i == 0 || result.pareto[i - 1].recall < result.pareto[i].recall);
    }
    for (const OperatingPoint& tried : result.tried) {  // all that is left out is beaten
        bool covered = false;
        for (const OperatingPoint& kept : result.pareto)
            covered = covered || beats(kept, tried);
        EXPECT_TRUE(covered);
    }
}

TEST(Tune, GivesTheBestWhenNothingReaches) {
    const std::unique_ptr<CellIndex> index = build("IVF16,PQ2");
    const TuneResult result = tune_some(*index, 200, 0.999);
    EXPECT_FALSE(result.reached);
    EXPECT_LT(result.chosen.recall, 0.999);
    for (const OperatingPoint& tried : result.tried)
        EXPECT_LE(tried.recall, result.chosen.recall);
    EXPECT_EQ(index->default_probes(), result.chosen.probes);
}

// Of a few queries most doublings gain nothing, which says nothing about the next.
TEST(Tune, MissesOnlyWhatAllCellsMiss) {
    constexpr size_t kWide = 64, kFew = 5;
    Random random(3);
    std::vector<float> rows(3000 * kWide), values(kFew * kWide);
    for (float& value : rows)
        value = static_cast<float>(random.uniform());
    const Vectors base = MatrixView(rows.data(), rows.size() / kWide, kWide);
    const std::unique_ptr<CellIndex> index = make_index("IVF64,Flat", {.dim = kWide});
    index->train(base);
    index->add(base);
    for (int draw = 0; draw < 10; ++draw) {
        for (float& value : values)
            value = static_cast<float>(random.uniform());
        const Vectors queries = MatrixView(values.data(), kFew, kWide);
        const SearchResult truth = exact_search(base, queries, Metric::L2, 1, 0);
        const TuneResult result =
            tune(*index, queries, {truth.ids.data(), kFew, 1}, {.recall = 1.0, .k = 1});
        EXPECT_TRUE(result.reached) << draw;
        EXPECT_EQ(result.chosen.recall, 1.0) << draw;
    }
}

TEST(Tune, TriesTheWholeOfASmallIndex) {
    const std::unique_ptr<CellIndex> index = make_index("PQ2,RFlat", {.dim = kDim});
    index->train(sample().base());
    index->add(sample().base().slice(0, 300));
    const Vectors queries = sample().queries().slice(0, 50);
    const SearchResult truth =
        exact_search(sample().base().slice(0, 300), queries, Metric::L2, kNeighbours, 0);
    const TuneResult result =
        tune(*index, queries, {truth.ids.data(), 50, kNeighbours}, {.recall = 1.0});
    EXPECT_TRUE(result.reached);
    EXPECT_EQ(result.tried.front().rerank, 300u);
}

// The target plus its sampling error may be out of reach although the target is not.
TEST(Tune, ReachesATargetAtTheEdge) {
    const std::unique_ptr<CellIndex> index = build("IVF16,SQ8");
    const double most = recall_of(*index, 16, 0, 0, 500);
    ASSERT_LT(most, 1.0);
    const TuneResult result = tune_some(*index, 500, most - 0.0005);
    EXPECT_TRUE(result.reached);
    EXPECT_GE(result.chosen.recall, most - 0.0005);
}

TEST(Tune, FlatIndexesHaveOneSetting) {
    const std::unique_ptr<CellIndex> index = build("Flat");
    const TuneResult result = tune_some(*index, 50, 0.5);
    EXPECT_TRUE(result.reached);
    EXPECT_EQ(result.chosen.recall, 1.0);
    EXPECT_EQ(result.tried.size(), 1u);
}

TEST(Tune, RefusesBadInputAndKeepsTheDefaults) {
    const std::unique_ptr<CellIndex> index = build("IVF64,Flat");
    index->set_defaults(7, 0);
    EXPECT_THROW(tune_some(*index, 100, 0.0), Error);
    EXPECT_THROW(tune_some(*index, 100, 1.1), Error);
    EXPECT_THROW(tune_some(*index, 100, std::nan("")), Error);
    EXPECT_THROW(tune_some(*index, 0, 0.9), Error);
    const Vectors queries = sample().queries();
    const auto refuse = [&](MatrixView<const int64_t> truth, const TuneOptions& options) {
        EXPECT_THROW(tune(*index, queries, truth, options), Error);
    };
    refuse(sample().true_ids().slice(0, 10), {});
    refuse(sample().true_ids(), {.k = 11});
    refuse(sample().true_ids(), {.k = 0});
    int calls = 0;
    TuneOptions cancelled;
    cancelled.progress = [&](std::string_view, double, double) { return ++calls < 3; };
    try {
        tune(*index, queries, sample().true_ids(), cancelled);
        ADD_FAILURE() << "not cancelled";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::Cancelled);
    }
    EXPECT_EQ(index->default_probes(), 7u);
    EXPECT_THROW(index->set_defaults(7, 5), Error);  // nothing to re-rank with
}

// Of which every search finds all, or none.
TEST(Tune, TruthThatSaysNothingChangesNothing) {
    const std::unique_ptr<CellIndex> index = build("IVF64,Flat");
    index->set_defaults(7, 0);
    const Vectors queries = sample().queries();
    std::vector<int64_t> truth(queries.rows * kNeighbours, -1);
    const MatrixView<const int64_t> none(truth.data(), queries.rows, kNeighbours);
    EXPECT_THROW(tune(*index, queries, none, {}), Error);
    std::fill(truth.begin(), truth.end(), int64_t{1} << 40);
    const TuneResult result = tune(*index, queries, none, {});
    EXPECT_FALSE(result.reached);
    EXPECT_EQ(result.chosen.recall, 0.0);
    EXPECT_EQ(index->default_probes(), 7u);
    CellIndex empty(index->options());
    EXPECT_THROW(tune(empty, queries, sample().true_ids(), {}), Error);
}

}  // namespace
}  // namespace nearcell
