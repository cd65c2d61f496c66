// What the scans share: tasks of queries, and within a task the (query, cell) pairs sorted by cell,
// so that each cell's codes are read once for all queries that look into it. Queries of a batch
// are taken in the order of their nearest cells: those of a task then look into the same few cells.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include <nearcell/core/parallel.h>
#include <nearcell/kernels/backend.h>

namespace nearcell {

struct Pair {
    uint32_t query;  // within the task
    float key;       // of the query and the cell's centroid; 0 where the job has no probe_keys
};

inline std::vector<uint32_t> queries_by_cell(const ScanJob& job) {
    std::vector<uint32_t> order(job.queries.rows);
    if (job.queries.rows <= job.plan.queries_per_task || job.probe_count == 0) {
        std::iota(order.begin(), order.end(), 0u);
        return order;
    }
    std::vector<uint32_t> next(job.cells.size() + 1, 0);
    for (size_t q = 0; q < order.size(); ++q)
        ++next[job.probes[q * job.probe_count] + 1];
    std::partial_sum(next.begin(), next.end(), next.begin());
    for (size_t q = 0; q < order.size(); ++q)
        order[next[job.probes[q * job.probe_count]]++] = static_cast<uint32_t>(q);
    return order;
}

// Calls run(queries of the task, split) for the tasks of the job's plan, in parallel.
template <class Run>
void run_plan(const ScanJob& job, Run&& run) {
    const std::vector<uint32_t> order = queries_by_cell(job);
    const size_t per_task = std::max<size_t>(1, job.plan.queries_per_task);
    const size_t chunks = (order.size() + per_task - 1) / per_task;
    parallel_for(chunks * job.plan.splits, job.threads, [&](size_t task, int) {
        const size_t first = task / job.plan.splits * per_task;
        const size_t count = std::min(per_task, order.size() - first);
        run(std::span<const uint32_t>(order).subspan(first, count), task % job.plan.splits);
    });
}

// The results of a scan whose cells are cut into parts: each part has its own, merged at the end.
class SplitResults {
   public:
    SplitResults(std::span<TopK> results, size_t splits) : results_(results) {
        for (size_t i = 1; i < splits; ++i)
            others_.emplace_back(results.begin(), results.end());
    }
    std::span<TopK> of(size_t split) { return split == 0 ? results_ : others_[split - 1]; }
    void merge() {
        for (const std::vector<TopK>& part : others_) {
            for (size_t q = 0; q < part.size(); ++q)
                results_[q].merge(part[q]);
        }
    }

   private:
    std::span<TopK> results_;
    std::vector<std::vector<TopK>> others_;
};

// Calls scan(cell, pairs) for the probes of rank [begin, end) of some queries, cell by cell; of one
// query, nearest first.
template <class Scan>
void for_each_cell(const ScanJob& job, std::span<const uint32_t> queries, size_t begin, size_t end,
                   Scan&& scan) {
    if (begin >= end) return;
    const auto probes_of = [&](size_t q) { return job.probes + queries[q] * job.probe_count; };
    const auto pair_of = [&](size_t q, size_t rank) {
        const size_t at = queries[q] * job.probe_count + rank;
        return Pair{static_cast<uint32_t>(q), job.probe_keys == nullptr ? 0 : job.probe_keys[at]};
    };
    if (queries.size() == 1) {  // each cell occurs once
        for (size_t rank = begin; rank < end; ++rank) {
            const Pair pair = pair_of(0, rank);
            scan(probes_of(0)[rank], std::span<const Pair>(&pair, 1));
        }
        return;
    }
    // Counting sort by cell.
    std::vector<size_t> starts(job.cells.size() + 1, 0);
    for (size_t q = 0; q < queries.size(); ++q) {
        for (size_t rank = begin; rank < end; ++rank)
            ++starts[probes_of(q)[rank] + 1];
    }
    std::partial_sum(starts.begin(), starts.end(), starts.begin());
    std::vector<Pair> pairs(starts.back());
    std::vector<size_t> next(starts.begin(), starts.end() - 1);
    for (size_t q = 0; q < queries.size(); ++q) {
        for (size_t rank = begin; rank < end; ++rank) {
            pairs[next[probes_of(q)[rank]]++] = pair_of(q, rank);
        }
    }
    for (size_t c = 0; c < job.cells.size(); ++c) {
        const size_t count = starts[c + 1] - starts[c];
        if (count != 0)
            scan(static_cast<uint32_t>(c), std::span<const Pair>(pairs).subspan(starts[c], count));
    }
}

// Which lanes of some blocks hold vectors that may be returned; how many there are.
inline uint64_t fill_masks(const CellView& cell, size_t first, size_t count, uint16_t* masks) {
    if (cell.masks == nullptr) {
        std::fill_n(masks, count, uint16_t{0xffff});
        const size_t vectors = std::min(count * kBlock, cell.size - first * kBlock);
        if (vectors % kBlock != 0)
            masks[count - 1] = static_cast<uint16_t>((1u << vectors % kBlock) - 1u);
        return vectors;
    }
    uint64_t vectors = 0;
    for (size_t i = 0; i < count; ++i) {
        const size_t lanes = std::min(kBlock, cell.size - (first + i) * kBlock);
        const unsigned filled = (1u << lanes) - 1u;
        const unsigned allowed = filled & cell.masks[first + i];
        masks[i] = static_cast<uint16_t>(allowed);
        vectors += static_cast<uint64_t>(__builtin_popcount(allowed));
    }
    return vectors;
}

}  // namespace nearcell
