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
