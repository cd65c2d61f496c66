// FastRotation: a random rotation that costs d log d instead of d^2 operations: Walsh-Hadamard
// transforms of the first and the last 2^k of the d values by turns, multiplications by random
// signs before each, and sums and differences of the two halves after every second one (Ailon,
// Chazelle 2009, "The fast Johnson-Lindenstrauss transform", without its sampling, made orthogonal
// for any d). Each step is orthogonal, so the whole is a rotation, and spreads any vector nearly
// evenly over the dimensions. Immutable; safe to share by threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <nearcell/core/matrix_view.h>
#include <nearcell/kernels/backend.h>

namespace nearcell {

class FastRotation {
   public:
    FastRotation() = default;
    // Signs drawn by the seed.
    FastRotation(size_t dim, uint64_t seed);
    // Signs as from signs(); throws Corrupt when there are not kRotationRounds x dim values 1 or
    // -1.
    FastRotation(size_t dim, std::span<const float> signs);

    size_t dim() const { return dim_; }
    const std::vector<float>& signs() const { return signs_; }
    // What each step multiplies with, for devices.
    const std::vector<float>& factors() const { return factors_; }
    // `out` must not overlap the input.
    void apply(MatrixView<const float> x, MatrixView<float> out, const Backend& backend,
               int threads) const;
    void inverse(MatrixView<const float> y, MatrixView<float> out, const Backend& backend,
                 int threads) const;

   private:
    void set_factors();

    size_t dim_ = 0;
    std::vector<float> signs_;
    std::vector<float> factors_;  // what rotate_f32 multiplies with
};

}  // namespace nearcell
