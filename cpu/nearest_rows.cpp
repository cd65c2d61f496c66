// Backend::nearest: the nearest of some rows for each query, of very many rows those of the nearest
// groups. Keys come from a blocked product of integers; a bound from the minima of some lanes of
// them leaves little more than the rows that are wanted, and those that may be among the nearest by
// what rounding can do are computed directly.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <span>

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

// How many groups of rows a query looks into, the nearest ones. Measured on photo-sift-200k, 16,384
// cells, 100 probes: 997 of 1,000 cells that are among the nearest are in the nearest 256 of 1,024
// groups.
size_t groups_for(size_t groups, size_t count) {
    const double some = 8 * std::sqrt(static_cast<double>(groups));
    return std::max(static_cast<size_t>(some), 4 * count / kBlock + 1);
}

class NearestRows {
   public:
    NearestRows(const CoarseRows& coarse, size_t count, const KernelTable& kernels)
        : coarse_(coarse),
          kernels_(kernels),
          count_(count),
          pair_(coarse.metric() == Metric::L2 ? kernels.l2_f32 : kernels.ip_f32) {
        seen_ = coarse.rows().rows;
        if (coarse.groups() != nullptr) {
            const size_t all = coarse.groups()->rows().rows, wanted = groups_for(all, count);
            if (wanted < all) {
                groups_ = std::make_unique<NearestRows>(*coarse.groups(), wanted, kernels);
                seen_ = wanted * kBlock;
            }
        }
        // Enough lanes that the count-th smallest of their minima is not far above the count-th
        // smallest key, and few enough to be worth it.
        lanes_ = (count * 5 / 2 + 31) / kBlock * kBlock;
        bounded_ = lanes_ * 3 <= seen_;
        if (!bounded_) lanes_ = kBlock;
        padded_ = (seen_ + lanes_ - 1) / lanes_ * lanes_;
        const std::vector<float>& squares = coarse.squares();
        if (squares.empty()) return;
        bias_ = squares.data();
        if (groups_ || padded_ <= squares.size()) return;
        padded_squares_ = squares;
        padded_squares_.resize(padded_, kInfinity);
        bias_ = padded_squares_.data();
    }

    size_t task_queries() const { return std::clamp<size_t>(kTaskKeys / padded_, 6, kTaskQueries); }

    // For at most task_queries() queries.
    void find(MatrixView<const float> queries, uint32_t* out_rows, float* out_keys) const {
        const size_t d = queries.cols, rows = coarse_.rows().rows;
        std::vector<float> keys(queries.rows * padded_, kLargest);  // past the rows: last
        const std::vector<uint32_t> groups = nearest_groups(queries);
        const std::vector<Query> integers = score(queries, groups, keys.data());
        std::vector<float> minima(lanes_), bias(groups_ ? padded_ : 0);
        const auto near_keys = std::make_unique_for_overwrite<float[]>(padded_);
        const auto near = std::make_unique_for_overwrite<uint32_t[]>(padded_);
        const auto ranks = std::make_unique_for_overwrite<uint32_t[]>(padded_);
        for (size_t q = 0; q < queries.rows; ++q) {
            float* const line = keys.data() + q * padded_;
            const uint32_t* const seen = groups_ ? groups.data() + q * (seen_ / kBlock) : nullptr;
            const float* line_bias = bias_;
            if (groups_ && bias_ != nullptr) {
                std::fill(bias.begin() + static_cast<ptrdiff_t>(seen_), bias.end(), kInfinity);
                for (size_t g = 0; g < seen_ / kBlock; ++g)
                    std::copy_n(&bias_[seen[g] * kBlock], kBlock, &bias[g * kBlock]);
                line_bias = bias.data();
            }
            const float bound =
                bound_of(line, line_bias, integers[q].unit, minima) + integers[q].slack;
            size_t found = kernels_.collect_rows(line, padded_,
                                                 bound < kInfinity ? bound : kInfinity, near.get());
            while (found > 0 && near[found - 1] >= seen_)
                --found;
            for (size_t i = 0; groups_ && i < found; ++i)
                near[i] = static_cast<uint32_t>(seen[near[i] / kBlock] * kBlock + near[i] % kBlock);
            while (found > 0 && near[found - 1] >= rows)
                --found;
            for (size_t i = 0; i < found; ++i) {
                const float key = pair_(queries.row(q), coarse_.rows().row(near[i]), d);
                near_keys[i] = key < kLargest ? key : kLargest;
            }
            const size_t end = (found + kBlock - 1) / kBlock * kBlock;
            std::fill(near_keys.get() + found, near_keys.get() + end, kInfinity);
            rank(near_keys.get(), found, end, ranks.get());
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

    // Those that each query looks into, ascending; empty where it looks at all rows.
    std::vector<uint32_t> nearest_groups(MatrixView<const float> queries) const {
        if (!groups_) return {};
        std::vector<uint32_t> groups(queries.rows * groups_->count_);
        groups_->find_set(queries, groups.data());
        return groups;
    }

    // The numbers of the count nearest rows by the products of integers, in ascending order.
    void find_set(MatrixView<const float> queries, uint32_t* out_rows) const {
        std::vector<float> keys(queries.rows * padded_, kLargest), minima(lanes_);
        const std::vector<Query> integers = score(queries, {}, keys.data());
        std::vector<uint32_t> near(padded_);
        for (size_t q = 0; q < queries.rows; ++q) {
            float* const line = keys.data() + q * padded_;
            const float bound = bound_of(line, bias_, integers[q].unit, minima);
            size_t found =
                kernels_.collect_rows(line, padded_, std::min(bound, kLargest), near.data());
            while (found > 0 && near[found - 1] >= seen_)
                --found;
            const auto first = near.begin(), last = first + static_cast<ptrdiff_t>(count_);
            if (found < count_) std::iota(first, last, 0u);  // some keys are not finite
            if (found > count_) {                            // some are equal
                std::nth_element(first, last, first + static_cast<ptrdiff_t>(found),
                                 [line](uint32_t a, uint32_t b) {
                                     return line[a] < line[b] || (line[a] == line[b] && a < b);
                                 });
                std::sort(first, last);
            }
            std::copy(first, last, out_rows + q * count_);
        }
    }

    // Negated products of integers with the rows that are looked at, one line of keys a query.
    std::vector<Query> score(MatrixView<const float> queries, std::span<const uint32_t> groups,
                             float* keys) const {
        const size_t d = queries.cols, rows = coarse_.rows().rows, values = 4 * coarse_.steps();
        std::vector<Query> result(queries.rows);
        if (coarse_.blocks() == nullptr) {  // nothing is known of any key
            for (size_t q = 0; q < queries.rows; ++q)
                std::fill_n(keys + q * padded_, seen_, 0.0f);
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
        if (groups_) {
            score_groups(pointers, groups, keys);
            return result;
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

    // Group by group, for the queries that look into it.
    void score_groups(std::span<const int16_t* const> queries, std::span<const uint32_t> groups,
                      float* keys) const {
        const size_t rows = coarse_.rows().rows, seen = seen_ / kBlock;
        const auto score_group = [&](size_t group, const int16_t* const* some, size_t count,
                                     float* out, size_t stride) {
            kernels_.scores_int16(coarse_.blocks() + group * coarse_.block_words(),
                                  std::min(kBlock, rows - group * kBlock), coarse_.steps(), some,
                                  count, out, stride);
        };
        if (queries.size() == 1) {
            for (size_t g = 0; g < seen; ++g)
                score_group(groups[g], queries.data(), 1, keys + g * kBlock, padded_);
            return;
        }
        struct Place {
            uint32_t query, at;
        };
        std::vector<uint32_t> starts(coarse_.groups()->rows().rows + 1, 0);
        for (const uint32_t group : groups)
            ++starts[group + 1];
        std::partial_sum(starts.begin(), starts.end(), starts.begin());
        std::vector<Place> places(groups.size());
        std::vector<uint32_t> next(starts.begin(), starts.end() - 1);
        for (size_t i = 0; i < groups.size(); ++i) {
            places[next[groups[i]]++] = {static_cast<uint32_t>(i / seen),
                                         static_cast<uint32_t>(i % seen)};
        }
        std::vector<const int16_t*> some(queries.size());
        std::vector<float> scores(queries.size() * kBlock);
        for (size_t group = 0; group + 1 < starts.size(); ++group) {
            const size_t count = starts[group + 1] - starts[group];
            if (count == 0) continue;
            const Place* const here = places.data() + starts[group];
            for (size_t i = 0; i < count; ++i)
                some[i] = queries[here[i].query];
            score_group(group, some.data(), count, scores.data(), kBlock);
            const size_t valid = std::min(kBlock, rows - group * kBlock);
            for (size_t i = 0; i < count; ++i) {
                std::copy_n(scores.data() + i * kBlock, valid,
                            keys + here[i].query * padded_ + here[i].at * kBlock);
            }
        }
    }

    // Twice what rounding can do to a key of the line and to a direct one, in the line's units:
    // those of the key where there is a bias, else of the products.
    float slack(double norm, double unit) const {
        const double d = static_cast<double>(coarse_.rows().cols);
        const double reach = norm + coarse_.largest_norm();
        const double direct = 4.0 * (d + 9) * 0x1p-24 * reach * reach;
        // Each value is within half of an integer, and the other vector as long as kIntegerNorm.
        const double product = 1.01 * (std::sqrt(d) * CoarseRows::kIntegerNorm + d / 4 + 100);
        const double key = direct + (bias_ == nullptr ? 2.0 : 4.0) * product * unit;
        return static_cast<float>(bias_ == nullptr ? key / unit : key);
    }

    // At least the count-th smallest key of the line, whose keys become complete.
    float bound_of(float* line, const float* bias, float unit, std::vector<float>& minima) const {
        if (bounded_ || bias != nullptr) {
            kernels_.lane_minima(line, padded_, bias, 2.0f * unit, lanes_, minima.data());
        }
        if (count_ >= seen_) return kInfinity;
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
    size_t seen_;                          // rows that a query looks at
    std::unique_ptr<NearestRows> groups_;  // null: those are all
    bool bounded_;
    PairKernel* pair_;
    const float* bias_ = nullptr;  // what is added to twice the product; null for inner products
    std::vector<float> padded_squares_;
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
