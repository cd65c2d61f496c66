// RecallCurve: recall and speed of an index for one setting or for a sweep over probes and re-rank
// depth. Speed is that of the best of up to three runs, of all queries in one batch.
#pragma once

#include <cstdint>
#include <vector>

#include <nearcell/ivf/cell_index.h>
#include <nearcell/storage/vector_file.h>

namespace nearcell::cli {

struct CurvePoint {
    size_t probes = 0;
    size_t rerank = 0;
    std::vector<double> recalls;  // one for each depth of RecallQuestion
    double queries_per_second = 0;
    double scanned_per_query = 0;
    bool pareto = false;  // no other point is at least as good in both recall and speed
};

struct RecallQuestion {
    const CellIndex& index;
    Vectors queries;
    MatrixView<const int64_t> truth;
    size_t k = 10;
    std::vector<size_t> depths;  // recall@ each of these, the last being k
    int threads = 0;
    Progress progress;
};

// 1, 10 and 100 as far as they are below k, and k.
std::vector<size_t> recall_depths(size_t k);
// probes = 0 and rerank = 0: the index's defaults.
CurvePoint measure(const RecallQuestion& question, size_t probes, size_t rerank);
// Probes double, for each of some re-rank depths, until recall no longer grows.
std::vector<CurvePoint> sweep(const RecallQuestion& question);

}  // namespace nearcell::cli
