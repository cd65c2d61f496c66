// LinearMap: y = A x + b, the form of every linear transform (PCA, OPQ, rotations). Applied as one
// blocked product per batch. Immutable once built; safe to share by threads.
#pragma once

#include <cstddef>
#include <vector>

#include <nearcell/core/matrix_view.h>
#include <nearcell/core/vectors.h>
#include <nearcell/kernels/backend.h>

namespace nearcell {

class LinearMap {
   public:
    LinearMap() = default;
    // matrix: out_dim x in_dim, row-major; bias: out_dim values, or empty for none. Throws
    // InvalidArgument on wrong sizes, NonFinite.
    LinearMap(size_t in_dim, size_t out_dim, std::vector<float> matrix, std::vector<float> bias);

    size_t in_dim() const { return in_dim_; }
    size_t out_dim() const { return out_dim_; }
    const std::vector<float>& matrix() const { return matrix_; }
    const std::vector<float>& bias() const { return bias_; }

    // `out` must not overlap the input.
    void apply(MatrixView<const float> x, MatrixView<float> out, const Backend& backend,
               int threads) const;

   private:
    size_t in_dim_ = 0;
    size_t out_dim_ = 0;
    std::vector<float> matrix_;
    std::vector<float> bias_;
    FloatBlocks rows_;  // A
};

}  // namespace nearcell
