// Backend::nearest: the nearest of some rows for each query. Keys come from a blocked matrix
// product; a bound from the minima of some lanes of them leaves little more than the rows that are
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

constexpr size_t kTaskQueries = 96;       // a multiple of every tile's queries
constexpr size_t kTaskKeys = 1 << 20;     // unless there are very many rows
constexpr size_t kGroupFloats = 1 << 16;  // of the rows, kept in L2 while a task's queries pass
constexpr size_t kCountedRanks = 1024;    // more keys are sorted: ranking takes their square
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
        const std::vector<float>& center = coarse_.center();
        std::vector<float> moved(center.empty() ? 0 : queries.rows * d);
        std::vector<const float*> pointers(queries.rows);
        for (size_t q = 0; q < queries.rows; ++q) {
            pointers[q] = queries.row(q);
            if (center.empty()) continue;
            for (size_t j = 0; j < d; ++j)
                moved[q * d + j] = queries.row(q)[j] - center[j];
            pointers[q] = moved.data() + q * d;
        }
        std::vector<float> keys(queries.rows * padded_, kInfinity);
        const size_t group = std::max<size_t>(4, kGroupFloats / (d * kBlock) / 4 * 4) * kBlock;
        for (size_t first = 0; first < rows; first += group) {
            kernels_.scores_ip_f32(coarse_.blocks().block(first / kBlock),
                                   std::min(group, rows - first), d, pointers.data(), queries.rows,
                                   keys.data() + first, padded_);
        }
        std::vector<float> minima(lanes_), near_keys(padded_);
        std::vector<uint32_t> near(padded_), ranks(padded_);
        for (size_t q = 0; q < queries.rows; ++q) {
            float* const line = keys.data() + q * padded_;
            const float bound = bound_of(line, minima) + slack(pointers[q]);
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
    // At least the count-th smallest key of the line, whose keys become complete.
    float bound_of(float* line, std::vector<float>& minima) const {
        if (bounded_ || !bias_.empty()) {
            kernels_.lane_minima(line, padded_, bias_.empty() ? nullptr : bias_.data(), 2.0f,
                                 lanes_, minima.data());
        }
        if (count_ >= coarse_.rows().rows) return kInfinity;
        return bounded_ ? kernels_.smallest_bound(minima.data(), lanes_, count_)
                        : kernels_.smallest_bound(line, padded_, count_);
    }

    // Twice what rounding can do to a key of the product and to a direct one.
    float slack(const float* query) const {
        const double square =
            -static_cast<double>(kernels_.ip_f32(query, query, coarse_.rows().cols));
        const double reach = std::sqrt(square) + coarse_.largest_norm();
        return static_cast<float>(4.0 * static_cast<double>(coarse_.rows().cols + 9) * 0x1p-24 *
                                  reach * reach);
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
