// What the scans share: tasks of queries, and within a task the (query, cell) pairs sorted by cell,
// so that each cell's codes are read once for all queries that look into it. Queries of a batch
// are taken in the order of their nearest cells: those of a task then look into the same few cells.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
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

// How many of a query's probes are worth a scan after the nearest one (ScanJob::reach). The rule is
// an observation, not a bound: what it leaves out at equal recall, on which data, is in
// bench/results/ablations.txt, part 2.
inline uint32_t probes_within_reach(const ScanJob& job, size_t query, float threshold) {
    const float* const keys = job.probe_keys + query * job.probe_count;
    const bool similarity = is_similarity(job.metric);  // of vectors of length 1
    const auto distance = [&](float key) {
        return std::sqrt(std::max(0.0f, similarity ? 2.0f + 2.0f * key : key));
    };
    const float more = job.reach * distance(threshold) / std::sqrt(distance(keys[0]));
    const float limit = keys[0] + (similarity ? 0.5f : 1.0f) * more;
    if (!(limit < std::numeric_limits<float>::infinity()))
        return static_cast<uint32_t>(job.probe_count);
    return static_cast<uint32_t>(std::upper_bound(keys, keys + job.probe_count, limit) - keys);
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

// Runs the scans of a job. make_scan(job, queries of the task, split) gives an object with
// scan(first, ends), for the probes of rank [first, ends[place]) of the query at a place in the
// task, threshold(place) and counts(). The nearest cells come first, so that there are thresholds
// where most of the work is.
template <class MakeScan>
ScanCounts run_scans(const ScanJob& job, MakeScan&& make_scan) {
    std::atomic<uint64_t> scanned{0}, refined{0};
    const auto count = [&](const ScanCounts& counts) {
        scanned += counts.scanned;
        refined += counts.refined;
    };
    const bool limited = job.reach < std::numeric_limits<float>::infinity();
    const size_t nearest = std::min<size_t>(1, job.probe_count);
    // Scans the nearest cells; where the others end.
    const auto scan_nearest = [&](auto& scan, std::span<const uint32_t> queries) {
        std::vector<uint32_t> ends(queries.size(), static_cast<uint32_t>(nearest));
        scan.scan(0, ends);
        ends.assign(queries.size(), static_cast<uint32_t>(job.probe_count));
        for (size_t i = 0; limited && i < queries.size(); ++i)
            ends[i] = probes_within_reach(job, queries[i], scan.threshold(i));
        return ends;
    };
    if (!limited || job.plan.splits == 1) {
        run_plan(job, [&](std::span<const uint32_t> queries, size_t split) {
            auto scan = make_scan(job, queries, split);
            scan.scan(nearest, scan_nearest(scan, queries));
            count(scan.counts());
        });
        return {scanned, refined};
    }
    // The parts of a cell know different thresholds: what is within reach is decided before.
    std::vector<uint32_t> all_ends(job.queries.rows);
    ScanJob whole = job;
    whole.plan.splits = 1;
    run_plan(whole, [&](std::span<const uint32_t> queries, size_t split) {
        auto scan = make_scan(whole, queries, split);
        const std::vector<uint32_t> ends = scan_nearest(scan, queries);
        for (size_t i = 0; i < queries.size(); ++i)
            all_ends[queries[i]] = ends[i];
        count(scan.counts());
    });
    run_plan(job, [&](std::span<const uint32_t> queries, size_t split) {
        auto scan = make_scan(job, queries, split);
        std::vector<uint32_t> ends;
        for (const uint32_t query : queries)
            ends.push_back(all_ends[query]);
        scan.scan(nearest, ends);
        count(scan.counts());
    });
    return {scanned, refined};
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

// Calls scan(cell, pairs) for the probes of rank [begin, ends[place]) of some queries, cell by
// cell; of one query, nearest first.
template <class Scan>
void for_each_cell(const ScanJob& job, std::span<const uint32_t> queries, size_t begin,
                   std::span<const uint32_t> ends, Scan&& scan) {
    const auto probes_of = [&](size_t q) { return job.probes + queries[q] * job.probe_count; };
    const auto pair_of = [&](size_t q, size_t rank) {
        const size_t at = queries[q] * job.probe_count + rank;
        return Pair{static_cast<uint32_t>(q), job.probe_keys == nullptr ? 0 : job.probe_keys[at]};
    };
    if (queries.size() == 1) {  // each cell occurs once
        for (size_t rank = begin; rank < ends[0]; ++rank) {
            const Pair pair = pair_of(0, rank);
            scan(probes_of(0)[rank], std::span<const Pair>(&pair, 1));
        }
        return;
    }
    // Counting sort by cell.
    std::vector<size_t> starts(job.cells.size() + 1, 0);
    for (size_t q = 0; q < queries.size(); ++q) {
        for (size_t rank = begin; rank < ends[q]; ++rank)
            ++starts[probes_of(q)[rank] + 1];
    }
    std::partial_sum(starts.begin(), starts.end(), starts.begin());
    std::vector<Pair> pairs(starts.back());
    std::vector<size_t> next(starts.begin(), starts.end() - 1);
    for (size_t q = 0; q < queries.size(); ++q) {
        for (size_t rank = begin; rank < ends[q]; ++rank) {
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
