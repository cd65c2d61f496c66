// CoarseRows: the centroids of an index, as Backend::nearest looks through them for each query. For
// L2 they are moved by their mean, which distances do not see but rounding does, and a key is
// |c|^2 - 2 <q, c> (+ |q|^2): one product. They are kept as integers, which says of each key where
// it lies but for little, and those that may be among the nearest are computed from the rows
// themselves. Where there are very many, whose neighbours in number are neighbours in space
// (quantize/centroid_order.h), groups of sixteen are compared by their means first. Built once;
// immutable; safe to share by threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <nearcell/core/aligned_buffer.h>
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
    // The rows times scale(), rounded to integers, as scores_int16 wants them; null where their
    // lengths are out of range.
    const uint32_t* blocks() const { return blocks_.size() == 0 ? nullptr : blocks_.data(); }
    size_t steps() const { return steps_; }  // of four dimensions
    size_t block_words() const { return steps_ * 2 * kBlock; }
    float scale() const { return scale_; }
    // |c|^2 of each row, moved, infinity for the lanes past the last; empty like center().
    const std::vector<float>& squares() const { return squares_; }
    double largest_norm() const { return largest_norm_; }  // of a row, moved
    // The means of the rows of each block; null where comparing them first does not pay.
    const CoarseRows* groups() const { return groups_.get(); }

    // What vectors of integers are scaled to: no product of two leaves 32 bits, no value 16.
    static constexpr double kIntegerNorm = 32000;
    // Rows from which on they are grouped.
    static constexpr size_t kManyRows = 8192;
    // The lengths of vectors that are scaled.
    static constexpr double kLeastNorm = 1e-12, kLargestNorm = 1e12;

   private:
    void make_groups();

    Metric metric_ = Metric::L2;
    MatrixView<const float> rows_;
    std::vector<float> center_, squares_;
    AlignedBuffer<uint32_t> blocks_;
    size_t steps_ = 0;
    float scale_ = 0;
    double largest_norm_ = 0;
    std::vector<float> means_;
    std::unique_ptr<CoarseRows> groups_;
};

// x times scale, rounded to the nearest, zeros up to a multiple of four values. Results lie within
// 16 bits.
void round_to_integers(const float* x, size_t d, float scale, int16_t* out);

}  // namespace nearcell
