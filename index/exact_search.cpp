#include <nearcell/index/exact_search.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include <nearcell/core/parallel.h>
#include <nearcell/ivf/planner.h>
#include <nearcell/ivf/transform.h>
#include <nearcell/kernels/backend.h>

namespace nearcell {
namespace {

constexpr size_t kCellFloats = size_t{1} << 18;    // 1 MiB a cell: what a thread packs at a time
constexpr size_t kChunkCells = 16;                 // cells scanned by one call
constexpr size_t kBatchQueries = size_t{1} << 14;  // queries that share one pass over the base

size_t ceil_divide(size_t a, size_t b) { return (a + b - 1) / b; }

// Rows as the scan wants them: float32, for Cosine of length one (zero rows stay zero: cosine 0).
std::vector<float> read_floats(const Vectors& vectors, size_t first, size_t count, Metric metric,
                               int threads) {
    std::vector<float> values(count * vectors.cols);
    const MatrixView<float> rows(values.data(), count, vectors.cols);
    read_rows(vectors, first, rows);
    if (metric == Metric::Cosine) normalize_rows(rows, threads);
    return values;
}

// Some consecutive rows of the base, packed into cells.
class Chunk {
   public:
    Chunk(const Vectors& base, size_t first, size_t rows, size_t cell_rows, Metric metric,
          int threads)
        : blocks_(ceil_divide(rows, cell_rows)), cells_(blocks_.size()), ids_(rows) {
        std::iota(ids_.begin(), ids_.end(), static_cast<int64_t>(first));
        parallel_for(blocks_.size(), threads, [&](size_t c, int) {
            const size_t begin = c * cell_rows, count = std::min(cell_rows, rows - begin);
            const std::vector<float> values = read_floats(base, first + begin, count, metric, 1);
            blocks_[c] = FloatBlocks({values.data(), count, base.cols});
            cells_[c] = {.blocks = reinterpret_cast<const uint8_t*>(blocks_[c].data()),
                         .ids = ids_.data() + begin,
                         .size = count};
        });
    }
    std::span<const CellView> cells() const { return cells_; }
    size_t rows() const { return ids_.size(); }

   private:
    std::vector<FloatBlocks> blocks_;
    std::vector<CellView> cells_;
    std::vector<int64_t> ids_;
};

// Adds the rows of a chunk to the best of each query.
uint64_t scan_chunk(const Chunk& chunk, MatrixView<const float> queries, Metric metric,
                    std::vector<TopK>& best, int threads) {
    const size_t cells = chunk.cells().size();
    std::vector<uint32_t> probes(queries.rows * cells);
    for (size_t i = 0; i < probes.size(); ++i)
        probes[i] = static_cast<uint32_t>(i % cells);
    ScanJob job;
    job.queries = queries;
    job.metric = metric;
    job.code.dim = job.code.words = queries.cols;
    job.cells = chunk.cells();
    job.probes = probes.data();
    job.probe_count = cells;
    job.plan = plan_scan(queries.rows, queries.rows * chunk.rows(), resolve_threads(threads));
    job.threads = threads;
    // The thresholds of earlier chunks save work, but a split scan must start from nothing.
    if (job.plan.splits == 1) return cpu_backend().scan_cells(job, best).scanned;
    std::vector<TopK> found(queries.rows, TopK(best.front().k()));
    const ScanCounts counts = cpu_backend().scan_cells(job, found);
    for (size_t q = 0; q < queries.rows; ++q)
        best[q].merge(found[q]);
    return counts.scanned;
}

float score(Metric metric, float key) {
    if (!is_similarity(metric)) return key;
    const float similarity = 0.0f - key;  // never -0
    return metric == Metric::Cosine ? std::clamp(similarity, -1.0f, 1.0f) : similarity;
}

// Writes the rows of a result from query `first` on.
void write_results(std::vector<TopK>& best, size_t first, Metric metric, SearchResult& result) {
    for (size_t i = 0; i < best.size(); ++i) {
        const std::vector<Candidate>& sorted = best[i].sorted();
        const size_t q = first + i;
        result.counts[q] = sorted.size();
        for (size_t j = 0; j < sorted.size(); ++j) {
            result.scores[q * result.k + j] = score(metric, sorted[j].key);
            result.ids[q * result.k + j] = sorted[j].id;
        }
    }
}

}  // namespace

SearchResult exact_search(const Vectors& base, const Vectors& queries, Metric metric, size_t k,
                          int threads, const Progress& progress) {
    check(k >= 1, StatusCode::InvalidArgument, "k = 0: ask for at least one neighbour");
    check_dim(base, base.cols, "base");
    check_dim(queries, base.cols, "queries");
    check_finite(queries, "queries", threads);
    check_finite(base, "base", threads);

    SearchResult result;
    result.queries = queries.rows;
    result.k = k;
    result.scores.assign(queries.rows * k, worst_score(metric));
    result.ids.assign(queries.rows * k, -1);
    result.counts.assign(queries.rows, 0);
    result.stats.plan = "exact: every row, float32";

    const size_t dim = std::max<size_t>(1, base.cols);
    const size_t cell_rows = std::max<size_t>(1, kCellFloats / dim / kBlock) * kBlock;
    const size_t chunk_rows = cell_rows * kChunkCells;
    const double work = static_cast<double>(queries.rows) * static_cast<double>(base.rows);
    for (size_t q = 0; q < queries.rows; q += kBatchQueries) {
        const size_t count = std::min(kBatchQueries, queries.rows - q);
        const std::vector<float> values = read_floats(queries, q, count, metric, threads);
        std::vector<TopK> best(count, TopK(k));
        for (size_t first = 0; first < base.rows; first += chunk_rows) {
            const double done = static_cast<double>(q) * static_cast<double>(base.rows) +
                                static_cast<double>(count) * static_cast<double>(first);
            report(progress, "exact search", done, work);
            const size_t rows = std::min(chunk_rows, base.rows - first);
            const Chunk chunk(base, first, rows, cell_rows, metric, threads);
            result.stats.scanned +=
                scan_chunk(chunk, {values.data(), count, base.cols}, metric, best, threads);
        }
        write_results(best, q, metric, result);
    }
    report(progress, "exact search", work, work);
    return result;
}

}  // namespace nearcell
