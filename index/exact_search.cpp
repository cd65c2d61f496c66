#include <nearcell/index/exact_search.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <vector>

#include <nearcell/core/parallel.h>
#include <nearcell/ivf/planner.h>
#include <nearcell/ivf/transform.h>
#include <nearcell/kernels/backend.h>

namespace nearcell {
namespace {

constexpr size_t kCellFloats = size_t{1} << 18;  // 1 MiB a cell: what a thread packs at a time
// Candidates beyond k, for the scan's roundings: so many, and one for so many of k.
constexpr size_t kSpare = 16, kSparePart = 16;
constexpr size_t kDoubtful = 256;                     // queries that share a pass in float64
constexpr size_t kPassRows = 1024;                    // rows of a task of that pass
constexpr size_t kChunkCells = 16;                    // cells scanned by one call
constexpr size_t kBatchQueries = size_t{1} << 14;     // queries that share one pass over the base,
constexpr size_t kThreadQueries = size_t{1} << 11;    // or fewer with few threads, to ask for the
                                                      // caller's leave about once a second,
constexpr size_t kBatchCandidates = size_t{1} << 21;  // or fewer, with so many candidates,
constexpr size_t kLeastBatch = 256;                   // but not fewer than these

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

void write_result(const std::vector<Candidate>& exact, size_t q, Metric metric,
                  SearchResult& result) {
    result.counts[q] = std::min(exact.size(), result.k);
    for (size_t j = 0; j < result.counts[q]; ++j) {
        result.scores[q * result.k + j] = 0.0f + score_from_key(metric, exact[j].key);
        result.ids[q * result.k + j] = exact[j].id;
    }
}

// By how much a key of the scan may lie above the exact one: roundings of differences, products and
// sums (kernels/kernel_table.h), and for Cosine of the rows of length one; and what underflows.
// `lengths`: of the query times the longest row.
double scan_error(Metric metric, size_t dim, double key, double lengths) {
    const auto roundings = static_cast<double>(dim + 8);
    const double size = metric == Metric::InnerProduct ? lengths
                        : metric == Metric::Cosine     ? 1.0
                                                       : std::fabs(key);
    return roundings * (size * 0x1p-24 + 0x1p-149);
}

double length_of(const float* row, size_t dim) {
    return std::sqrt(sum_of(
        dim, [&](size_t j) { return static_cast<double>(row[j]) * static_cast<double>(row[j]); }));
}

double longest_row(const Vectors& base, int threads) {
    std::vector<double> longest(static_cast<size_t>(resolve_threads(threads)), 0.0);
    parallel_for(ceil_divide(base.rows, kPassRows), threads, [&](size_t task, int worker) {
        const size_t first = task * kPassRows, count = std::min(kPassRows, base.rows - first);
        std::vector<float> rows(count * base.cols);
        read_rows(base, first, {rows.data(), count, base.cols});
        double& mine = longest[static_cast<size_t>(worker)];
        for (size_t r = 0; r < count; ++r)
            mine = std::max(mine, length_of(rows.data() + r * base.cols, base.cols));
    });
    return *std::max_element(longest.begin(), longest.end());
}

// Writes the results of the queries from `first` on. Returns those of which rows that the scan left
// out may be as near as the k-th best found, for float32 cannot tell.
std::vector<size_t> write_results(const Vectors& base, const Vectors& queries, size_t first,
                                  Metric metric, double longest, std::vector<TopK>& best,
                                  int threads, SearchResult& result) {
    std::vector<char> doubtful(best.size(), 0);
    parallel_for(best.size(), threads, [&](size_t i, int) {
        const size_t q = first + i;
        std::vector<float> query(queries.cols);
        read_rows(queries, q, {query.data(), 1, queries.cols});
        const std::vector<Candidate>& found = best[i].sorted();
        const std::vector<Candidate> exact = rescore(base, query.data(), metric, found);
        write_result(exact, q, metric, result);
        if (found.size() < best[i].k() || found.size() == base.rows) return;  // all rows were in
        const double left_out = static_cast<double>(found.back().key);
        const double kth = static_cast<double>(exact[result.counts[q] - 1].key);
        const double error = scan_error(metric, queries.cols, left_out,
                                        length_of(query.data(), query.size()) * longest);
        doubtful[i] = left_out - error > kth + std::fabs(kth) * 0x1p-23 ? 0 : 1;
    });
    std::vector<size_t> numbers;
    for (size_t i = 0; i < doubtful.size(); ++i) {
        if (doubtful[i] != 0) numbers.push_back(first + i);
    }
    return numbers;
}

// Results of some queries from the scores of all rows in double precision.
void search_in_doubles(const Vectors& base, const Vectors& queries, std::span<const size_t> which,
                       Metric metric, int threads, SearchResult& result) {
    const size_t dim = base.cols, k = std::min(result.k, base.rows);
    std::vector<float> values(which.size() * dim);
    gather_rows(queries, which.data(), {values.data(), which.size(), dim}, threads);
    std::vector<std::vector<TopK>> best(static_cast<size_t>(resolve_threads(threads)));
    parallel_for(ceil_divide(base.rows, kPassRows), threads, [&](size_t task, int worker) {
        std::vector<TopK>& mine = best[static_cast<size_t>(worker)];
        if (mine.empty()) mine.assign(which.size(), TopK(k));
        const size_t first = task * kPassRows, count = std::min(kPassRows, base.rows - first);
        std::vector<float> rows(count * dim);
        read_rows(base, first, {rows.data(), count, dim});
        for (size_t i = 0; i < which.size(); ++i) {
            for (size_t r = 0; r < count; ++r) {
                Candidate candidate;
                candidate.key = key_from_score(
                    metric, static_cast<float>(exact_score(values.data() + i * dim,
                                                           rows.data() + r * dim, dim, metric)));
                candidate.id = static_cast<int64_t>(first + r);
                mine[i].push(candidate);
            }
        }
    });
    for (size_t i = 0; i < which.size(); ++i) {
        TopK all(k);
        for (const std::vector<TopK>& part : best) {
            if (!part.empty()) all.merge(part[i]);
        }
        write_result(all.sorted(), which[i], metric, result);
    }
}

}  // namespace

SearchResult exact_search(const Vectors& base, const Vectors& queries, Metric metric, size_t k,
                          int threads, const Progress& progress) {
    check(k >= 1, StatusCode::InvalidArgument, "k = 0: ask for at least one neighbour");
    check(metric_name(metric) != "?", StatusCode::InvalidArgument,
          "metric = ", static_cast<int>(metric), " is none: pass one of Metric");
    check(base.cols >= 1, StatusCode::InvalidArgument,
          "base has 0 columns: pass vectors of 1 or more");
    check_dim(base, base.cols, "base");
    check_dim(queries, base.cols, "queries");
    check_finite(queries, "queries", threads);
    check_finite(base, "base", threads);

    SearchResult result = empty_result(queries.rows, k, metric);
    result.stats.plan = "exact: every row in float32, the nearest again in float64";

    const size_t dim = std::max<size_t>(1, base.cols);
    const size_t cell_rows = std::max<size_t>(1, kCellFloats / dim / kBlock) * kBlock;
    const size_t chunk_rows = cell_rows * kChunkCells;
    const size_t most = std::min(k, base.rows), wanted = most + kSpare + most / kSparePart;
    const double longest = metric == Metric::InnerProduct ? longest_row(base, threads) : 1.0;
    const double work = static_cast<double>(queries.rows) * static_cast<double>(base.rows);
    const size_t timely = kThreadQueries * static_cast<size_t>(resolve_threads(threads));
    const size_t batch =
        std::clamp(kBatchCandidates / wanted, kLeastBatch, std::min(kBatchQueries, timely));
    for (size_t q = 0; q < queries.rows; q += batch) {
        const size_t count = std::min(batch, queries.rows - q);
        const std::vector<float> values = read_floats(queries, q, count, metric, threads);
        std::vector<TopK> best(count, TopK(wanted));
        for (size_t first = 0; first < base.rows; first += chunk_rows) {
            const double done = static_cast<double>(q) * static_cast<double>(base.rows) +
                                static_cast<double>(count) * static_cast<double>(first);
            report(progress, "exact search", done, work);
            const size_t rows = std::min(chunk_rows, base.rows - first);
            const Chunk chunk(base, first, rows, cell_rows, metric, threads);
            result.stats.scanned +=
                scan_chunk(chunk, {values.data(), count, base.cols}, metric, best, threads);
        }
        const std::vector<size_t> doubtful =
            write_results(base, queries, q, metric, longest, best, threads, result);
        for (size_t i = 0; i < doubtful.size(); i += kDoubtful) {
            report(progress, "exact search",
                   static_cast<double>(q) * static_cast<double>(base.rows), work);
            search_in_doubles(
                base, queries,
                std::span(doubtful).subspan(i, std::min(kDoubtful, doubtful.size() - i)), metric,
                threads, result);
        }
    }
    report(progress, "exact search", work, work);
    return result;
}

}  // namespace nearcell
