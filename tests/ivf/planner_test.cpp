// Plans follow the costs they are given, whatever these are on this machine.
#include <nearcell/ivf/planner.h>

#include <gtest/gtest.h>

#include "ivf/model.h"

namespace nearcell {
namespace {

constexpr ScanCosts kCosts{.start = 10000, .query = 1000, .code = 2, .shared_code = 1};

TEST(Planner, WhatIsSoonDoneStaysInOneThread) {
    const PlannedScan plan = plan_scan(1, 4000, 8, kCosts);
    EXPECT_EQ(plan.threads, 1);
    EXPECT_EQ(plan.loops.splits, 1u);
    EXPECT_EQ(plan.nanoseconds, 9000);
    EXPECT_EQ(describe_plan(plan, 1), "cell-major, 1 tasks of 1 queries, 9 us expected");
}

TEST(Planner, ThreadsShareALongQuery) {
    const PlannedScan plan = plan_scan(1, 4000000, 8, kCosts);
    EXPECT_EQ(plan.threads, 8);
    EXPECT_EQ(plan.loops.splits, 8u);
    EXPECT_EQ(plan.nanoseconds, 10000 + 1000 + 1000000);
    EXPECT_EQ(describe_plan(plan, 1), "cells split in 8 parts, 1011 us expected");
}

TEST(Planner, ThreadsShareQueriesWhereThereAreMany) {
    const PlannedScan plan = plan_scan(1000, 4000000, 3, kCosts);
    EXPECT_EQ(plan.threads, 3);
    EXPECT_EQ(plan.loops.splits, 1u);
    EXPECT_EQ(plan.loops.queries_per_task, 334u);
}

TEST(Planner, MoreThreadsOnlyWhereTheyPay) {
    ScanCosts slow = kCosts;
    slow.start = 1e9;
    EXPECT_EQ(plan_scan(1000, 4000000, 8, slow).threads, 1);
    EXPECT_EQ(plan_scan(1000, 4000000, 1, kCosts).threads, 1);
    EXPECT_EQ(plan_scan(0, 0, 8, kCosts).loops.splits, 1u);
}

TEST(Planner, BatchesOfDearQueriesAreSmaller) {
    EXPECT_EQ(queries_per_batch(0, 1), 8192u);
    EXPECT_EQ(queries_per_batch(2e6, 1), 8192u);
    EXPECT_EQ(queries_per_batch(1e7, 1), 2000u);
    EXPECT_EQ(queries_per_batch(1e7, 3), 6000u);
    EXPECT_EQ(queries_per_batch(1e7, 64), 8192u);
    EXPECT_EQ(queries_per_batch(1e30, 64), 256u);
}

TEST(Planner, LongSearchesTellTheirProgressOften) {
    constexpr size_t kDim = 64, kRows = 80000, kQueries = 4096;
    const auto index = make_index("Flat", {.dim = kDim});
    const std::vector<float> x = random_rows(kRows, kDim, 2);
    index->add(MatrixView<const float>(x.data(), kRows, kDim));
    const std::vector<int64_t> few{1, 79000};
    const IdFilter filter = IdFilter::list(few);  // a test need not take long
    std::vector<double> told;
    SearchOptions options;
    options.k = 1;
    options.threads = 1;
    options.filter = &filter;
    options.progress = [&](std::string_view, double done, double) {
        told.push_back(done);
        return true;
    };
    const MatrixView<const float> queries(x.data(), kQueries, kDim);
    const SearchResult result = index->search(queries, options);
    ASSERT_EQ(told.size(), 3u);
    EXPECT_NEAR(told[1], 2e10 / kRows / kDim, 1);
    EXPECT_EQ(told[2], kQueries);
    const size_t last = kQueries - 1;
    EXPECT_EQ(result.ids[last], index->search(queries.slice(last, 1), options).ids[0]);
}

TEST(Planner, CostsAreMeasuredByTheFirstCallThatHasAChoice) {
    const auto index = trained_index("IVF9,SQ8", 12, Metric::L2);
    const std::vector<float> x = random_rows(5000, 12, 2), q = random_rows(300, 12, 3);
    index->add(MatrixView<const float>(x.data(), 5000, 12));
    const MatrixView<const float> queries(q.data(), 300, 12);
    const SearchResult one = index->search(queries, {.k = 5, .threads = 1});
    const SearchResult two = index->search(queries, {.k = 5, .threads = 2});
    EXPECT_EQ(one.ids, two.ids);
    EXPECT_NE(one.stats.plan.find(" expected"), std::string::npos);
    EXPECT_EQ(one.stats.scanned, two.stats.scanned) << "measuring is not counted";
}

}  // namespace
}  // namespace nearcell
