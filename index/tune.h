// Tuning: finds the cheapest probes and re-rank depth that reach a recall, and measures recall.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <nearcell/core/matrix_view.h>
#include <nearcell/ivf/cell_index.h>

namespace nearcell {

// The share of the first `k` true neighbours (truth: queries x at least k ids) among the first k
// results, ids of -1 left out of both.
double recall_at(const SearchResult& result, MatrixView<const int64_t> truth, size_t k);

struct OperatingPoint {
    size_t probes = 0;
    size_t rerank = 0;
    double recall = 0;
    double queries_per_second = 0;
};

struct TuneOptions {
    double recall = 0.95;
    size_t k = 10;
    int threads = 0;
    Progress progress;
};

struct TuneResult {
    OperatingPoint chosen;
    bool reached = false;                  // false: the best that any setting gave
    std::vector<OperatingPoint> tried;     // in the order tried
    std::vector<OperatingPoint> pareto;    // none is beaten in both recall and speed by another
};

// Sets the index's defaults to the cheapest setting (least work, not least measured time, so that it
// is the same on every machine) whose recall on these queries reaches the target. When more than 100
// queries are given the target is raised by the sampling error, so that other queries reach it too.
TuneResult tune(CellIndex& index, const Vectors& queries, MatrixView<const int64_t> truth,
                const TuneOptions& options);

// Exact neighbours by a full scan of float32 rows: what recall is measured against.
SearchResult exact_search(const Vectors& base, const Vectors& queries, Metric metric, size_t k,
                          int threads, const Progress& progress = {});

}  // namespace nearcell
