#include <nearcell/quantize/centroid_order.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include <nearcell/core/parallel.h>

namespace nearcell {
namespace {

constexpr size_t kLeaf = 2;
constexpr size_t kWhole = 512;        // rows of a part that one thread orders to the end
constexpr size_t kRowsPerTask = 512;  // of a larger part
constexpr size_t kAxisRows = 256;     // of a part: its direction need not be exact

// Each step of the iteration takes off this share of the largest eigenvalue: the roots of a
// polynomial that is small at all lesser ones. As near as ten steps without.
constexpr float kShifts[] = {0.0f, 0.1f, 0.7f, 0.3f, 0.5f};

// Sums side by side: one after the other, each addition would wait for the last.
template <class Sum, size_t kLanes>
Sum sum_of_products(const float* a, const float* b, size_t dim) {
    Sum sums[kLanes] = {};
    size_t j = 0;
    for (; j + kLanes <= dim; j += kLanes) {
        for (size_t i = 0; i < kLanes; ++i)
            sums[i] += static_cast<Sum>(a[j + i]) * static_cast<Sum>(b[j + i]);
    }
    for (size_t i = 0; j + i < dim; ++i)
        sums[i] += static_cast<Sum>(a[j + i]) * static_cast<Sum>(b[j + i]);
    for (size_t left = kLanes / 2; left > 0; left /= 2) {  // neighbours
        for (size_t i = 0; i < left; ++i)
            sums[i] = sums[2 * i] + sums[2 * i + 1];
    }
    return sums[0];
}

float dot(const float* a, const float* b, size_t dim) {
    return sum_of_products<float, 8>(a, b, dim);
}

// In double precision, which bears rows far from the origin: no mean is taken off.
double place_along(const float* axis, const float* row, size_t dim) {
    return sum_of_products<double, 4>(axis, row, dim);
}

// The steps of halving a part; one for each thread.
class Halving {
   public:
    Halving(MatrixView<const float> rows, double* places)
        : rows_(rows), dim_(rows.cols), places_(places), axis_(dim_), next_(dim_) {}

    // The first principal component of rows from all over the part, by power iteration from the one
    // farthest from their mean. Zero where they are all alike, or too large.
    void find_axis(std::span<const size_t> which, float* axis) {
        const size_t count = std::min(which.size(), kAxisRows);
        center(which, count);
        std::fill_n(axis, dim_, 0.0f);
        float farthest = 0;
        const float* start = nullptr;
        for (size_t i = 0; i < count; ++i) {
            const float square = dot(centered(i), centered(i), dim_);
            if (!(square > farthest)) continue;
            farthest = square;
            start = centered(i);
        }
        if (!std::isnormal(farthest)) return;
        const float unit = 1 / farthest;  // so that no sum is large
        for (size_t j = 0; j < dim_; ++j)
            axis[j] = start[j] * std::sqrt(unit);
        float largest = 0;
        for (const float share : kShifts) {
            const float shift = share * largest;
            for (size_t j = 0; j < dim_; ++j)
                next_[j] = -shift * axis[j];
            for (size_t i = 0; i < count; i += 2) {  // two rows: half the loads and stores of sums
                const float* const a = centered(i);
                const float* const b = centered(std::min(i + 1, count - 1));
                const float of_a = unit * dot(axis, a, dim_);
                const float of_b = i + 1 < count ? unit * dot(axis, b, dim_) : 0.0f;
                for (size_t j = 0; j < dim_; ++j)
                    next_[j] += of_a * a[j] + of_b * b[j];
            }
            const float length = std::sqrt(dot(next_.data(), next_.data(), dim_));
            if (!(length > 0)) return;
            largest = length + shift;
            const float inverse = 1 / length;
            for (size_t j = 0; j < dim_; ++j)
                axis[j] = inverse * next_[j];
        }
    }

    void project(std::span<const size_t> which, const float* axis) const {
        for (const size_t i : which)
            places_[i] = place_along(axis, rows_.row(i), dim_);
    }

    void split(std::span<size_t> which) const {
        const auto middle = static_cast<ptrdiff_t>(which.size() / 2);
        std::nth_element(which.begin(), which.begin() + middle, which.end(),
                         [&](size_t a, size_t b) {
                             return places_[a] < places_[b] || (places_[a] == places_[b] && a < b);
                         });
    }

    void order(std::span<size_t> which) {
        if (which.size() <= kLeaf) return;
        find_axis(which, axis_.data());
        project(which, axis_.data());
        split(which);
        order(which.first(which.size() / 2));
        order(which.subspan(which.size() / 2));
    }

   private:
    float* centered(size_t i) { return centered_.data() + i * dim_; }

    // From one of the rows first, which leaves no large numbers to the sums of the mean.
    void center(std::span<const size_t> which, size_t count) {
        const float* const origin = rows_.row(which[0]);
        centered_.resize(std::max(centered_.size(), count * dim_));
        std::fill(next_.begin(), next_.end(), 0.0f);
        for (size_t i = 0; i < count; ++i) {
            const float* const x = rows_.row(which[i * which.size() / count]);
            float* const out = centered(i);
            for (size_t j = 0; j < dim_; ++j) {
                out[j] = x[j] - origin[j];
                next_[j] += out[j];
            }
        }
        for (float& value : next_)
            value /= static_cast<float>(count);
        for (size_t i = 0; i < count; ++i) {
            for (size_t j = 0; j < dim_; ++j)
                centered(i)[j] -= next_[j];
        }
    }

    MatrixView<const float> rows_;
    size_t dim_;
    double* places_;  // of all rows, along the axis of their part
    std::vector<float> centered_, axis_, next_;
};

}  // namespace

std::vector<size_t> centroid_order(MatrixView<const float> centroids, int threads) {
    const size_t dim = centroids.cols;
    std::vector<size_t> order(centroids.rows);
    std::iota(order.begin(), order.end(), size_t{0});
    std::vector<double> places(centroids.rows);
    const auto workers = static_cast<size_t>(resolve_threads(threads));
    std::vector<Halving> halvings(workers, Halving(centroids, places.data()));
    std::vector<std::span<size_t>> parts{order}, halves;
    std::vector<float> axes;
    // The large parts level by level, each by many threads.
    for (; parts.front().size() > kWhole; parts.swap(halves)) {
        axes.resize(parts.size() * dim);
        parallel_for(parts.size(), threads, [&](size_t i, int worker) {
            halvings[static_cast<size_t>(worker)].find_axis(parts[i], axes.data() + i * dim);
        });
        const size_t tasks =
            parts.back().size() / kRowsPerTask + 1;  // of each: the last is largest
        parallel_for(parts.size() * tasks, threads, [&](size_t i, int worker) {
            const std::span<size_t> part = parts[i / tasks];
            const size_t first = std::min(part.size(), i % tasks * kRowsPerTask);
            halvings[static_cast<size_t>(worker)].project(
                part.subspan(first, std::min(part.size() - first, kRowsPerTask)),
                axes.data() + i / tasks * dim);
        });
        parallel_for(parts.size(), threads, [&](size_t i, int worker) {
            halvings[static_cast<size_t>(worker)].split(parts[i]);
        });
        halves.clear();
        for (const std::span<size_t> part : parts) {
            halves.push_back(part.first(part.size() / 2));
            halves.push_back(part.subspan(part.size() / 2));
        }
    }
    parallel_for(parts.size(), threads, [&](size_t i, int worker) {
        halvings[static_cast<size_t>(worker)].order(parts[i]);
    });
    return order;
}

}  // namespace nearcell
