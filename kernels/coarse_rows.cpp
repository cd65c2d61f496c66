#include <nearcell/kernels/coarse_rows.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace nearcell {

CoarseRows::CoarseRows(MatrixView<const float> rows, Metric metric) : metric_(metric), rows_(rows) {
    const size_t n = rows.rows, d = rows.cols;
    if (n == 0) return;
    std::vector<float> moved;
    MatrixView<const float> operand = rows;
    if (metric == Metric::L2) {
        std::vector<double> sum(d, 0.0);
        for (size_t i = 0; i < n; ++i) {
            for (size_t j = 0; j < d; ++j)
                sum[j] += static_cast<double>(rows.row(i)[j]);
        }
        for (const double value : sum)
            center_.push_back(static_cast<float>(value / static_cast<double>(n)));
        for (size_t i = 0; i < n; ++i) {
            for (size_t j = 0; j < d; ++j)
                moved.push_back(rows.row(i)[j] - center_[j]);
        }
        operand = {moved.data(), n, d};
        squares_.assign(blocks_for(n) * kBlock, std::numeric_limits<float>::infinity());
    }
    blocks_ = FloatBlocks(operand);
    for (size_t i = 0; i < n; ++i) {
        double square = 0;
        for (size_t j = 0; j < d; ++j) {
            square +=
                static_cast<double>(operand.row(i)[j]) * static_cast<double>(operand.row(i)[j]);
        }
        if (!squares_.empty()) squares_[i] = static_cast<float>(square);
        largest_norm_ = std::max(largest_norm_, std::sqrt(square));
    }
}

}  // namespace nearcell
