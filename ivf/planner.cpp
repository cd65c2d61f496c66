#include <nearcell/ivf/planner.h>

#include <algorithm>

namespace nearcell {
namespace {

constexpr size_t kFewQueries = 8;        // a thread: below, threads share queries instead
constexpr uint64_t kSplitCodes = 16384;  // worth a thread's start

}  // namespace

ScanPlan plan_scan(size_t queries, uint64_t codes, int threads) {
    const size_t team = static_cast<size_t>(threads);
    if (queries == 0) return {1, 1};
    if (queries < kFewQueries * team) {
        const uint64_t useful = std::max<uint64_t>(1, codes / kSplitCodes);
        return {queries, static_cast<size_t>(std::min<uint64_t>(team, useful))};
    }
    // Equal shares, as large as they can be: a cell's codes are read once for each.
    return {(queries + team - 1) / team, 1};
}

std::string describe_plan(const ScanPlan& plan, size_t queries) {
    if (plan.splits > 1) return "cells split in " + std::to_string(plan.splits) + " parts";
    const size_t tasks = (queries + plan.queries_per_task - 1) / plan.queries_per_task;
    return "cell-major, " + std::to_string(tasks) + " tasks of " +
           std::to_string(plan.queries_per_task) + " queries";
}

}  // namespace nearcell
