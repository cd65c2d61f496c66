#include <nearcell/index/exact_search.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include <nearcell/core/parallel.h>
#include <nearcell/ivf/planner.h>
#include <nearcell/ivf/transform.h>
#include <nearcell/kernels/backend.h>

namespace nearcell {
namespace {

constexpr size_t kCellFloats = size_t{1} << 18;    // 1 MiB a cell: what a thread packs at a time
constexpr size_t kSpare = 16;                      // candidates beyond k, for the scan's roundings
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
    const PlannedScan planned =
        plan_scan(queries.rows, queries.rows * chunk.rows(), resolve_threads(threads));
    job.plan = planned.loops;
    job.threads = planned.threads;
    // The thresholds of earlier chunks save work, but a split scan must start from nothing.
    if (job.plan.splits == 1) return cpu_backend().scan_cells(job, best).scanned;
    std::vector<TopK> found(queries.rows, TopK(best.front().k()));
    const ScanCounts counts = cpu_backend().scan_cells(job, found);
    for (size_t q = 0; q < queries.rows; ++q)
        best[q].merge(found[q]);
    return counts.scanned;
}

// Sums term(0) + ... + term(n - 1) in double precision, in an order that compilers can vectorise.
template <class Term>
double sum_of(size_t n, Term&& term) {
    double lanes[8] = {};
    size_t j = 0;
    for (; j + 8 <= n; j += 8) {
        for (size_t lane = 0; lane < 8; ++lane)
            lanes[lane] += term(j + lane);
    }
    for (; j < n; ++j)
        lanes[j % 8] += term(j);
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

double exact_score(const float* a, const float* b, size_t dim, Metric metric) {
    const auto product = [&](const float* x, const float* y) {
        return sum_of(
            dim, [&](size_t j) { return static_cast<double>(x[j]) * static_cast<double>(y[j]); });
    };
    const auto difference = [&](size_t j) {
        return static_cast<double>(a[j]) - static_cast<double>(b[j]);
    };
    switch (metric) {
        case Metric::L2:
            return sum_of(dim, [&](size_t j) { return difference(j) * difference(j); });
        case Metric::L1: return sum_of(dim, [&](size_t j) { return std::abs(difference(j)); });
        case Metric::InnerProduct: return product(a, b);
        case Metric::Cosine: {
            const double squares = product(a, a) * product(b, b);
            return squares == 0 ? 0.0 : std::clamp(product(a, b) / std::sqrt(squares), -1.0, 1.0);
        }
    }
    return 0;
}

// The candidates of one query scored in double precision, best first.
std::vector<Candidate> rescore(const Vectors& base, const float* query, Metric metric,
                               const std::vector<Candidate>& found) {
    std::vector<Candidate> exact = found;
    std::vector<float> row(base.cols);
    for (Candidate& candidate : exact) {
        read_rows(base, static_cast<size_t>(candidate.id), {row.data(), 1, base.cols});
        const double score = exact_score(query, row.data(), base.cols, metric);
        candidate.key = key_from_score(metric, static_cast<float>(score));
    }
    std::sort(exact.begin(), exact.end(), nearer);
    return exact;
}

// Writes the results of the queries from `first` on.
void write_results(const Vectors& base, const Vectors& queries, size_t first, Metric metric,
                   std::vector<TopK>& best, int threads, SearchResult& result) {
    parallel_for(best.size(), threads, [&](size_t i, int) {
        const size_t q = first + i;
        std::vector<float> query(queries.cols);
        read_rows(queries, q, {query.data(), 1, queries.cols});
        const std::vector<Candidate> exact = rescore(base, query.data(), metric, best[i].sorted());
        result.counts[q] = std::min(exact.size(), result.k);
        for (size_t j = 0; j < result.counts[q]; ++j) {
            result.scores[q * result.k + j] = 0.0f + score_from_key(metric, exact[j].key);
            result.ids[q * result.k + j] = exact[j].id;
        }
    });
}

}  // namespace

SearchResult exact_search(const Vectors& base, const Vectors& queries, Metric metric, size_t k,
                          int threads, const Progress& progress) {
    check(k >= 1, StatusCode::InvalidArgument, "k = 0: ask for at least one neighbour");
    check(base.cols >= 1, StatusCode::InvalidArgument,
          "base has 0 columns: pass vectors of 1 or more");
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
    result.stats.plan = "exact: every row in float32, the nearest again in float64";

    const size_t dim = std::max<size_t>(1, base.cols);
    const size_t cell_rows = std::max<size_t>(1, kCellFloats / dim / kBlock) * kBlock;
    const size_t chunk_rows = cell_rows * kChunkCells;
    const double work = static_cast<double>(queries.rows) * static_cast<double>(base.rows);
    for (size_t q = 0; q < queries.rows; q += kBatchQueries) {
        const size_t count = std::min(kBatchQueries, queries.rows - q);
        const std::vector<float> values = read_floats(queries, q, count, metric, threads);
        std::vector<TopK> best(count, TopK(std::min(k, base.rows) + kSpare));
        for (size_t first = 0; first < base.rows; first += chunk_rows) {
            const double done = static_cast<double>(q) * static_cast<double>(base.rows) +
                                static_cast<double>(count) * static_cast<double>(first);
            report(progress, "exact search", done, work);
            const size_t rows = std::min(chunk_rows, base.rows - first);
            const Chunk chunk(base, first, rows, cell_rows, metric, threads);
            result.stats.scanned +=
                scan_chunk(chunk, {values.data(), count, base.cols}, metric, best, threads);
        }
        write_results(base, queries, q, metric, best, threads, result);
    }
    report(progress, "exact search", work, work);
    return result;
}

}  // namespace nearcell
