// Tuning: finds the cheapest probes, cutoff and re-rank depth that reach a recall, and measures
// recall. Cost of tune(): some 10 to 40 searches of all queries, most of them near the cheapest
// setting.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include <nearcell/core/matrix_view.h>
#include <nearcell/ivf/cell_index.h>

namespace nearcell {

// The share of the first k true neighbours of each query (truth: queries x at least k ids) among
// its first k results, over all queries. Ids of -1 are left out of both; 1 when there is no true
// one.
double recall_at(const SearchResult& result, MatrixView<const int64_t> truth, size_t k);

struct OperatingPoint {
    size_t probes = 0;
    size_t rerank = 0;  // 0: no re-rank store, or one that is used as the codes' bounds say
    float cutoff = std::numeric_limits<float>::infinity();
    double recall = 0;
    double queries_per_second = 0;
};

struct TuneOptions {
    double recall = 0.95;  // in (0, 1]
    size_t k = 10;
    int threads = 0;
    Progress progress = {};
};

struct TuneResult {
    OperatingPoint chosen;
    // False: chosen is the best of those tried, among them all cells with the deepest re-ranking,
    // which is of at most 64 k and 4,096 candidates.
    bool reached = false;
    std::vector<OperatingPoint> tried;   // in the order tried
    std::vector<OperatingPoint> pareto;  // by recall; none is beaten in recall and speed by another
};

// Sets the index's defaults to the cheapest setting whose recall on these queries reaches the
// target: least work, not least measured time, so that it is the same on every machine. With more
// than 100 queries the target is raised by the sampling error, as far as any setting reaches, so
// that other queries reach it too. When the call throws, the defaults are as they were; so they are
// when no setting finds an id of truth. Throws InvalidArgument for an empty index, and truth
// without an id.
TuneResult tune(CellIndex& index, const Vectors& queries, MatrixView<const int64_t> truth,
                const TuneOptions& options);

}  // namespace nearcell
