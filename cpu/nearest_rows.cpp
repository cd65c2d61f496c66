// Backend::nearest: the nearest of some rows for each query. Keys come from a blocked product of
// integers; a bound from the minima of some lanes of them leaves little more than the rows that are
// wanted, and those that may be among the nearest by what rounding can do are computed directly.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <nearcell/core/parallel.h>
#include <nearcell/cpu/cpu_backend.h>
#include <nearcell/kernels/coarse_rows.h>

namespace nearcell {
namespace {

constexpr size_t kTaskQueries = 96;      // a multiple of every tile's queries
constexpr size_t kTaskKeys = 1 << 20;    // unless there are very many rows
constexpr size_t kGroupWords = 1 << 16;  // of the rows, kept in L2 while a task's queries pass
constexpr size_t kCountedRanks = 1024;   // more keys are sorted: ranking takes their square
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();  // instead of keys that overflow

class NearestRows {
   public:
    NearestRows(const CoarseRows& coarse, size_t count, const KernelTable& kernels)
        : coarse_(coarse),
          kernels_(kernels),
          count_(count),
          pair_(coarse.metric() == Metric::L2 ? kernels.l2_f32 : kernels.ip_f32) {
        // Enough lanes that the count-th smallest of their minima is not far above the count-th
        // smallest key, and few enough to be worth it.
        const size_t rows = coarse.rows().rows;
        lanes_ = (count * 5 / 2 + 31) / kBlock * kBlock;
        bounded_ = lanes_ * 3 <= rows;
        if (!bounded_) lanes_ = kBlock;
        padded_ = (rows + lanes_ - 1) / lanes_ * lanes_;
        if (coarse.squares().empty()) return;
        bias_ = coarse.squares();
        bias_.resize(padded_, kInfinity);
    }

    size_t task_queries() const { return std::clamp<size_t>(kTaskKeys / padded_, 6, kTaskQueries); }

    // For at most task_queries() queries.
    void find(MatrixView<const float> queries, uint32_t* out_rows, float* out_keys) const {
        const size_t d = queries.cols, rows = coarse_.rows().rows;
        std::vector<float> keys(queries.rows * padded_, kLargest);  // past the rows: last
        const std::vector<Query> integers = score(queries, keys.data());
        std::vector<float> minima(lanes_), near_keys(padded_);
        std::vector<uint32_t> near(padded_), ranks(padded_);
        for (size_t q = 0; q < queries.rows; ++q) {
            float* const line = keys.data() + q * padded_;
            const float bound = bound_of(line, integers[q].unit, minima) + integers[q].slack;
            size_t found = kernels_.collect_rows(
                line, padded_, bound < kInfinity ? bound : kInfinity, near.data());
            while (found > 0 && near[found - 1] >= rows)
                --found;
            for (size_t i = 0; i < found; ++i) {
                const float key = pair_(queries.row(q), coarse_.rows().row(near[i]), d);
                near_keys[i] = key < kLargest ? key : kLargest;
            }
            const size_t end = (found + kBlock - 1) / kBlock * kBlock;
            std::fill(near_keys.begin() + static_cast<ptrdiff_t>(found),
                      near_keys.begin() + static_cast<ptrdiff_t>(end), kInfinity);
            rank(near_keys.data(), found, end, ranks.data());
            for (size_t i = 0; i < count_; ++i) {  // where there are fewer than count
                out_rows[q * count_ + i] = static_cast<uint32_t>(i);
                out_keys[q * count_ + i] = kLargest;
            }
            for (size_t i = 0; i < found; ++i) {
                if (ranks[i] >= count_) continue;
                out_rows[q * count_ + ranks[i]] = near[i];
                out_keys[q * count_ + ranks[i]] = near_keys[i];
            }
        }
    }

   private:
    // A query as integers.
    struct Query {
        float unit = 0;           // of a product
        float slack = kInfinity;  // more than what twice the error of a key is, in the line's units
    };

    // Negated products of integers with all rows, one line of keys a query.
    std::vector<Query> score(MatrixView<const float> queries, float* keys) const {
        const size_t d = queries.cols, rows = coarse_.rows().rows, values = 4 * coarse_.steps();
        std::vector<Query> result(queries.rows);
        if (coarse_.blocks() == nullptr) {  // nothing is known of any key
            for (size_t q = 0; q < queries.rows; ++q)
                std::fill_n(keys + q * padded_, rows, 0.0f);
            return result;
        }
        const float* const center = coarse_.center().empty() ? nullptr : coarse_.center().data();
        std::vector<float> moved(d);
        std::vector<int16_t> integers(queries.rows * values);
        std::vector<const int16_t*> pointers(queries.rows);
        for (size_t q = 0; q < queries.rows; ++q) {
            const float* query = queries.row(q);
            pointers[q] = integers.data() + q * values;
            if (center != nullptr) {
                for (size_t j = 0; j < d; ++j)
                    moved[j] = query[j] - center[j];
                query = moved.data();
            }
            const double norm = std::sqrt(-static_cast<double>(kernels_.ip_f32(query, query, d)));
            if (!(norm >= CoarseRows::kLeastNorm && norm <= CoarseRows::kLargestNorm)) continue;
            const double scale = CoarseRows::kIntegerNorm / norm;
            round_to_integers(query, d, static_cast<float>(scale), integers.data() + q * values);
            const double unit = 1 / (scale * static_cast<double>(coarse_.scale()));
            result[q] = {static_cast<float>(unit), slack(norm, unit)};
        }
        const size_t group =
            std::max<size_t>(4, kGroupWords / coarse_.block_words() / 4 * 4) * kBlock;
        for (size_t first = 0; first < rows; first += group) {
            kernels_.scores_int16(coarse_.blocks() + first / kBlock * coarse_.block_words(),
                                  std::min(group, rows - first), coarse_.steps(), pointers.data(),
                                  queries.rows, keys + first, padded_);
        }
        return result;
    }

    // Twice what rounding can do to a key of the line and to a direct one, in the line's units:
    // those of the key where there is a bias, else of the products.
    float slack(double norm, double unit) const {
        const double d = static_cast<double>(coarse_.rows().cols);
        const double reach = norm + coarse_.largest_norm();
        const double direct = 4.0 * (d + 9) * 0x1p-24 * reach * reach;
        // Each value is within half of an integer, and the other vector as long as kIntegerNorm.
        const double product = 1.01 * (std::sqrt(d) * CoarseRows::kIntegerNorm + d / 4 + 100);
        const double key = direct + (bias_.empty() ? 2.0 : 4.0) * product * unit;
        return static_cast<float>(bias_.empty() ? key / unit : key);
    }

    // At least the count-th smallest key of the line, whose keys become complete.
    float bound_of(float* line, float unit, std::vector<float>& minima) const {
        if (bounded_ || !bias_.empty()) {
            kernels_.lane_minima(line, padded_, bias_.empty() ? nullptr : bias_.data(), 2.0f * unit,
                                 lanes_, minima.data());
        }
        if (count_ >= coarse_.rows().rows) return kInfinity;
        return bounded_ ? kernels_.smallest_bound(minima.data(), lanes_, count_)
                        : kernels_.smallest_bound(line, padded_, count_);
    }

    // The ranks of the first `found` keys; those up to `end` are there and infinite.
    void rank(const float* keys, size_t found, size_t end, uint32_t* ranks) const {
        if (found <= kCountedRanks) return kernels_.rank_keys(keys, end, ranks);
        std::vector<uint32_t> order(found);
        std::iota(order.begin(), order.end(), 0u);
        std::sort(order.begin(), order.end(), [keys](uint32_t a, uint32_t b) {
            return keys[a] < keys[b] || (keys[a] == keys[b] && a < b);
        });
        for (size_t i = 0; i < found; ++i)
            ranks[order[i]] = static_cast<uint32_t>(i);
    }

    const CoarseRows& coarse_;
    const KernelTable& kernels_;
    size_t count_, lanes_, padded_;
    bool bounded_;
    PairKernel* pair_;
    std::vector<float> bias_;
};

}  // namespace

void CpuBackend::nearest(MatrixView<const float> queries, const CoarseRows& rows, size_t count,
                         uint32_t* out_rows, float* out_keys, int threads) const {
    if (queries.rows == 0 || count == 0) return;
    const NearestRows nearest(rows, count, kernels_);
    const size_t task_queries = nearest.task_queries();
    parallel_for((queries.rows + task_queries - 1) / task_queries, threads, [&](size_t task, int) {
        const size_t first = task * task_queries;
        nearest.find(queries.slice(first, std::min(task_queries, queries.rows - first)),
                     out_rows + first * count, out_keys + first * count);
    });
}

}  // namespace nearcell
