// CoarseRows: the centroids of an index, as Backend::nearest looks through them for each query. For
// L2 they are moved by their mean, which distances do not see but rounding does, and a key is
// |c|^2 - 2 <q, c> (+ |q|^2): one product. Built once; immutable; safe to share by threads.
#pragma once

#include <cstddef>
#include <vector>

#include <nearcell/core/matrix_view.h>
#include <nearcell/core/metric.h>
#include <nearcell/kernels/backend.h>

namespace nearcell {

class CoarseRows {
   public:
    CoarseRows() = default;
    // metric: L2 or InnerProduct. The rows must outlive this object.
    CoarseRows(MatrixView<const float> rows, Metric metric);

    Metric metric() const { return metric_; }
    MatrixView<const float> rows() const { return rows_; }
    // The mean of the rows that blocks() are moved by; empty for inner products.
    const std::vector<float>& center() const { return center_; }
    const FloatBlocks& blocks() const { return blocks_; }
    // |c|^2 of each row of the blocks, infinity for the lanes past the last; empty like center().
    const std::vector<float>& squares() const { return squares_; }
    double largest_norm() const { return largest_norm_; }  // of a row of the blocks

   private:
    Metric metric_ = Metric::L2;
    MatrixView<const float> rows_;
    std::vector<float> center_, squares_;
    FloatBlocks blocks_;
    double largest_norm_ = 0;
};

}  // namespace nearcell
