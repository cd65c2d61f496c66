#include <nearcell/quantize/centroid_order.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

namespace nearcell {
namespace {

constexpr size_t kPowerSteps = 10;  // the direction need not be exact
constexpr size_t kLeaf = 2;

class Halving {
   public:
    explicit Halving(MatrixView<const float> rows)
        : rows_(rows), mean_(rows.cols), axis_(rows.cols), next_(rows.cols), place_(rows.rows) {}

    void order(std::span<size_t> which) {
        if (which.size() <= kLeaf) return;
        find_axis(which);
        for (const size_t i : which)
            place_[i] = dot(i);
        const size_t middle = which.size() / 2;
        std::nth_element(which.begin(), which.begin() + static_cast<ptrdiff_t>(middle), which.end(),
                         [&](size_t a, size_t b) {
                             return place_[a] < place_[b] || (place_[a] == place_[b] && a < b);
                         });
        order(which.first(middle));
        order(which.subspan(middle));
    }

   private:
    double dot(size_t row) const {
        double sum = 0;
        for (size_t j = 0; j < rows_.cols; ++j)
            sum += axis_[j] * (static_cast<double>(rows_.row(row)[j]) - mean_[j]);
        return sum;
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
    std::vector<double> mean_, axis_, next_, place_;
};

}  // namespace

std::vector<size_t> centroid_order(MatrixView<const float> centroids) {
    std::vector<size_t> order(centroids.rows);
    std::iota(order.begin(), order.end(), size_t{0});
    Halving(centroids).order(order);
    return order;
}

}  // namespace nearcell
