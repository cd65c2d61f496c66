// choose_spec(): what it chooses reaches the recall on other queries, it keeps to its budget, and
// says of every candidate what became of it. No speed is asked for.
#include <nearcell/index/choose_spec.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>
#include <nearcell/index/exact_search.h>
#include <nearcell/index/factory.h>
#include <nearcell/index/tune.h>

namespace nearcell {
namespace {

constexpr size_t kDim = 16;
constexpr size_t kNeighbours = 10;
constexpr double kNoTime = 1e-9;

// Rows of one set of clusters.
class Rows {
   public:
    Rows(size_t count, uint64_t seed) {
        Random center_random(5), random(seed);
        std::vector<float> centers(60 * kDim);
        for (float& value : centers)
            value = static_cast<float>(2 * center_random.normal());
        values_.resize(count * kDim);
        for (size_t i = 0; i < count; ++i) {
            const size_t center = random.below(60);
            for (size_t j = 0; j < kDim; ++j) {
                values_[i * kDim + j] =
                    centers[center * kDim + j] + static_cast<float>(random.normal());
            }
        }
    }
    Vectors view() const { return MatrixView(values_.data(), values_.size() / kDim, kDim); }

   private:
    std::vector<float> values_;
};

const Rows& base() {
    static const Rows rows(12000, 1);
    return rows;
}

// Of an index on all of base(), tuned with some queries, asked others.
double recall_on_others(const std::string& spec, double target, Metric metric = Metric::L2) {
    const Rows tuning(1000, 2), others(1000, 3);
    const auto truth = [&](const Rows& rows) {
        return exact_search(base().view(), rows.view(), metric, kNeighbours, 0).ids;
    };
    const std::vector<int64_t> tuning_truth = truth(tuning), others_truth = truth(others);
    const std::unique_ptr<CellIndex> index = make_index(spec, {.dim = kDim, .metric = metric});
    index->train(base().view());
    index->add(base().view());
    tune(*index, tuning.view(), {tuning_truth.data(), 1000, kNeighbours}, {.recall = target});
    SearchOptions search;
    search.k = kNeighbours;
    return recall_at(index->search(others.view(), search), {others_truth.data(), 1000, kNeighbours},
                     kNeighbours);
}

const SpecTrial& trial_of(const SpecChoice& choice, const std::string& spec) {
    return *std::find_if(choice.tried.begin(), choice.tried.end(),
                         [&](const SpecTrial& trial) { return trial.spec == spec; });
}

// The rule of the choice, on what was measured.
void expect_best(const SpecChoice& choice) {
    const SpecTrial& chosen = trial_of(choice, choice.spec);
    EXPECT_TRUE(choice.reached && chosen.reached);
    double fastest = 0;
    for (const SpecTrial& trial : choice.tried)
        if (trial.reached) fastest = std::max(fastest, trial.queries_per_second);
    EXPECT_GE(chosen.queries_per_second, 0.95 * fastest);
    for (const SpecTrial& trial : choice.tried) {
        EXPECT_TRUE(!trial.reached || trial.queries_per_second < 0.95 * fastest ||
                    trial.bytes_per_vector >= chosen.bytes_per_vector);
    }
}

TEST(ChooseSpec, ReachesTheRecallOnOtherQueries) {
    const SpecChoice choice = choose_spec(base().view(), {.recall = 0.9});
    EXPECT_EQ(choice.sample_rows, 10800u);  // a tenth is held out as queries
    expect_best(choice);
    for (const SpecTrial& trial : choice.tried) {  // whichever it is on this machine
        EXPECT_EQ(trial.not_tried, "");
        EXPECT_GT(trial.build_seconds, 0);
        if (!trial.reached) continue;
        EXPECT_GE(recall_on_others(trial.spec, 0.9), 0.9) << trial.spec;
    }
}

TEST(ChooseSpec, UsesTheQueriesGiven) {
    const Rows queries(600, 4);
    ChooseSpecOptions options{.recall = 0.9};
    options.queries = queries.view();
    const SpecChoice choice = choose_spec(base().view(), options);
    EXPECT_EQ(choice.sample_rows, 12000u);
    expect_best(choice);
    const SpecChoice again = choose_spec(base().view(), options);
    ASSERT_EQ(again.tried.size(), choice.tried.size());
    for (size_t i = 0; i < choice.tried.size(); ++i) {
        EXPECT_EQ(again.tried[i].spec, choice.tried[i].spec);
        EXPECT_EQ(again.tried[i].recall, choice.tried[i].recall);
    }
}

TEST(ChooseSpec, FinishesTheFirstWhateverTheBudget) {
    const SpecChoice choice = choose_spec(base().view(), {.recall = 0.9, .seconds = kNoTime});
    ASSERT_GT(choice.tried.size(), 2u);
    EXPECT_EQ(choice.spec, choice.tried[0].spec);
    EXPECT_TRUE(choice.reached);
    EXPECT_GE(choice.tried[0].recall, 0.88);
    for (size_t i = 1; i < choice.tried.size(); ++i) {
        EXPECT_NE(choice.tried[i].not_tried.find("no time"), std::string::npos);
        EXPECT_FALSE(choice.tried[i].reached);
    }
}

TEST(ChooseSpec, ScalesTheCellsToAllRows) {
    const Rows many(160000, 1);
    const SpecChoice choice = choose_spec(many.view(), {.seconds = kNoTime});
    EXPECT_EQ(choice.sample_rows, 20000u);
    EXPECT_EQ(choice.spec, "IVF533,SQ8nr");  // 300 rows a cell
    EXPECT_TRUE(choice.reached);
}

TEST(ChooseSpec, ScansSmallSetsWhole) {
    const SpecChoice few = choose_spec(base().view().slice(0, 500), {.seconds = kNoTime});
    EXPECT_EQ(few.spec, "Flat");
    EXPECT_EQ(few.tried[0].recall, 1.0);
    const SpecChoice fewest = choose_spec(base().view().slice(0, 20), {});
    EXPECT_TRUE(fewest.reached);
    EXPECT_EQ(fewest.sample_rows, 18u);
}

TEST(ChooseSpec, LeavesOutWhatTheMetricCannot) {
    const SpecChoice choice = choose_spec(base().view(), {.metric = Metric::L1, .recall = 0.9});
    expect_best(choice);
    size_t refused = 0;
    for (const SpecTrial& trial : choice.tried) {
        if (trial.not_tried.empty()) continue;
        ++refused;
        EXPECT_NE(trial.not_tried.find("l1"), std::string::npos);
    }
    EXPECT_GT(refused, 0u);
    EXPECT_LT(refused, choice.tried.size());
    EXPECT_GE(recall_on_others(choice.spec, 0.9, Metric::L1), 0.9);
}

TEST(ChooseSpec, KeepsToTheBytes) {
    const SpecChoice choice = choose_spec(base().view(), {.recall = 0.9, .max_bytes = 32});
    EXPECT_LE(trial_of(choice, choice.spec).bytes_per_vector, 32);
    for (const SpecTrial& trial : choice.tried)
        EXPECT_EQ(trial.not_tried.empty(), trial.bytes_per_vector <= 32) << trial.spec;
}

TEST(ChooseSpec, SaysWhenNothingReaches) {
    const SpecChoice choice = choose_spec(base().view(), {.recall = 1.0, .max_bytes = 32});
    EXPECT_FALSE(choice.reached);
    for (const SpecTrial& trial : choice.tried) {
        EXPECT_FALSE(trial.reached);
        EXPECT_LE(trial.recall, trial_of(choice, choice.spec).recall);
    }
}

StatusCode refused(const Vectors& rows, const ChooseSpecOptions& options) {
    try {
        choose_spec(rows, options);
    } catch (const Error& error) {
        return error.code();
    }
    ADD_FAILURE() << "not refused";
    return StatusCode::Io;
}

TEST(ChooseSpec, RefusesBadInput) {
    const Vectors rows = base().view();
    const StatusCode invalid = StatusCode::InvalidArgument;
    const double nan = std::numeric_limits<double>::quiet_NaN();
    for (const double recall : {0.0, 1.1, nan})
        EXPECT_EQ(refused(rows, {.recall = recall}), invalid);
    for (const double seconds : {0.0, -1.0, nan, std::numeric_limits<double>::infinity()})
        EXPECT_EQ(refused(rows, {.seconds = seconds}), invalid);
    for (const double bytes : {-1.0, 5.0, nan})
        EXPECT_EQ(refused(rows, {.max_bytes = bytes}), invalid);
    EXPECT_EQ(refused(rows, {.k = 0}), invalid);
    EXPECT_EQ(refused(rows.slice(0, 19), {}), invalid);
    ChooseSpecOptions with_queries;
    with_queries.queries = rows.slice(0, 1);
    EXPECT_EQ(refused(rows, with_queries), invalid);
    with_queries.queries->cols = kDim - 1;
    EXPECT_EQ(refused(rows, with_queries), invalid);
    std::vector<float> bad(100 * kDim, 1.0f);
    bad[70 * kDim] = static_cast<float>(nan);
    EXPECT_EQ(refused(MatrixView<const float>(bad.data(), 100, kDim), {}), StatusCode::NonFinite);
}

TEST(ChooseSpec, TellsItsProgressAndStops) {
    ChooseSpecOptions options;
    size_t calls = 0;
    options.progress = [&](std::string_view phase, double done, double total) {
        EXPECT_EQ(phase, "choose spec");
        EXPECT_TRUE(0 <= done && done <= total);
        return ++calls < 20;
    };
    EXPECT_EQ(refused(base().view(), options), StatusCode::Cancelled);
    EXPECT_EQ(calls, 20u);
}

}  // namespace
}  // namespace nearcell
