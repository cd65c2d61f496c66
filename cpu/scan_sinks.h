// Where a scan's hits go: the k best of each query, or everything within a radius.
#pragma once

#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include <nearcell/core/top_k.h>

namespace nearcell {

struct TopKSink {
    std::span<TopK> best;
    float threshold(size_t query) const { return best[query].threshold(); }
    // How many hits make a threshold.
    size_t wanted(size_t query) const { return best[query].k(); }
    void push(size_t query, const Candidate& candidate) { best[query].push(candidate); }
};

struct RangeSink {
    std::span<std::vector<Candidate>> hits;
    float largest_key;
    float threshold(size_t) const { return largest_key; }
    size_t wanted(size_t) const { return 1; }
    void push(size_t query, const Candidate& candidate) { hits[query].push_back(candidate); }
};

}  // namespace nearcell
