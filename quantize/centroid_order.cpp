#include <nearcell/quantize/centroid_order.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include <nearcell/core/parallel.h>

namespace nearcell {
namespace {

constexpr size_t kPowerSteps = 10;  // the direction need not be exact
constexpr size_t kLeaf = 2;

// Splits some of the rows at a time; one for each thread.
class Halving {
   public:
    Halving(MatrixView<const float> rows, double* places)
        : rows_(rows), places_(places), mean_(rows.cols), axis_(rows.cols), next_(rows.cols) {}

    void split(std::span<size_t> which) {
        find_axis(which);
        for (const size_t i : which)
            places_[i] = dot(i);
        const auto middle = static_cast<ptrdiff_t>(which.size() / 2);
        std::nth_element(which.begin(), which.begin() + middle, which.end(),
                         [&](size_t a, size_t b) {
                             return places_[a] < places_[b] || (places_[a] == places_[b] && a < b);
                         });
    }

   private:
    // Four sums side by side: one after the other, each addition would wait for the last.
    double dot(size_t row) const {
        const float* const x = rows_.row(row);
        double sums[4] = {};
        size_t j = 0;
        for (; j + 4 <= rows_.cols; j += 4) {
            for (size_t i = 0; i < 4; ++i)
                sums[i] += axis_[j + i] * (static_cast<double>(x[j + i]) - mean_[j + i]);
        }
        for (; j < rows_.cols; ++j)
            sums[0] += axis_[j] * (static_cast<double>(x[j]) - mean_[j]);
        return (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }

    // The first principal component, by power iteration from the row farthest from the mean.
    void find_axis(std::span<const size_t> which) {
        std::fill(mean_.begin(), mean_.end(), 0.0);
        for (const size_t i : which) {
            for (size_t j = 0; j < rows_.cols; ++j)
                mean_[j] += static_cast<double>(rows_.row(i)[j]);
        }
        for (double& value : mean_)
            value /= static_cast<double>(which.size());
        double farthest = -1;
        for (const size_t i : which) {
            double square = 0;
            for (size_t j = 0; j < rows_.cols; ++j) {
                next_[j] = static_cast<double>(rows_.row(i)[j]) - mean_[j];
                square += next_[j] * next_[j];
            }
            if (square <= farthest) continue;
            farthest = square;
            axis_ = next_;
        }
        for (size_t step = 0; step < kPowerSteps; ++step) {
            std::fill(next_.begin(), next_.end(), 0.0);
            for (const size_t i : which) {
                const double weight = dot(i);
                for (size_t j = 0; j < rows_.cols; ++j)
                    next_[j] += weight * (static_cast<double>(rows_.row(i)[j]) - mean_[j]);
            }
            const double length =
                std::sqrt(std::inner_product(next_.begin(), next_.end(), next_.begin(), 0.0));
            if (!(length > 0) || !std::isfinite(length)) return;  // all rows alike, or too large
            for (size_t j = 0; j < rows_.cols; ++j)
                axis_[j] = next_[j] / length;
        }
    }

    MatrixView<const float> rows_;
    double* places_;  // of all rows, along the axis of their half
    std::vector<double> mean_, axis_, next_;
};

}  // namespace

std::vector<size_t> centroid_order(MatrixView<const float> centroids, int threads) {
    std::vector<size_t> order(centroids.rows);
    std::iota(order.begin(), order.end(), size_t{0});
    std::vector<double> places(centroids.rows);
    const auto workers = static_cast<size_t>(resolve_threads(threads));
    std::vector<Halving> halvings(workers, Halving(centroids, places.data()));
    std::vector<std::span<size_t>> parts{order}, halves;
    for (; !parts.empty(); parts.swap(halves)) {  // level by level
        std::erase_if(parts, [](std::span<size_t> part) { return part.size() <= kLeaf; });
        parallel_for(parts.size(), threads, [&](size_t i, int worker) {
            halvings[static_cast<size_t>(worker)].split(parts[i]);
        });
        halves.clear();
        for (const std::span<size_t> part : parts) {
            halves.push_back(part.first(part.size() / 2));
            halves.push_back(part.subspan(part.size() / 2));
        }
    }
    return order;
}

}  // namespace nearcell
