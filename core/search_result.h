// SearchResult and RangeResult: what searches return. Always best first, ties by smaller id; a
// SearchResult by keys, before scores are clipped (reported_score).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <nearcell/core/metric.h>

namespace nearcell {

// What one search did; returned with the result, never kept in global state.
struct SearchStats {
    size_t probes = 0;            // cells looked into, per query; more behind a filter, if need be
    size_t rerank = 0;            // candidates re-scored at most, per query; 0: as bounds say
    uint64_t scanned = 0;         // codes scored, all queries together
    uint64_t reranked = 0;        // candidates re-scored
    uint64_t rerank_skipped = 0;  // candidates whose error bound made re-scoring unnecessary
    std::string plan;             // how the loops went, in words
};

// k neighbours a query, row-major queries x k. A missing neighbour has id -1 and the metric's worst
// finite score; counts[q] says how many of a row are real.
struct SearchResult {
    size_t queries = 0;
    size_t k = 0;
    std::vector<float> scores;
    std::vector<int64_t> ids;
    std::vector<size_t> counts;
    SearchStats stats;
};

// One of no neighbours. Throws OutOfMemory where so many are more than can be addressed.
SearchResult empty_result(size_t queries, size_t k, Metric metric);

// All neighbours within a radius: those of query q are entries [offsets[q], offsets[q + 1]).
struct RangeResult {
    size_t queries = 0;
    std::vector<size_t> offsets;
    std::vector<float> scores;
    std::vector<int64_t> ids;
    SearchStats stats;
};

}  // namespace nearcell
