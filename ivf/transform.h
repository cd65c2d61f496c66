// Transform: one step that vectors pass before they reach the cells: normalisation, PCA, OPQ or a
// random rotation. Linear ones are y = scale (R (x - mean)), R with orthonormal rows or columns, so
// each has an inverse. Immutable once trained; safe to share by threads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <nearcell/core/progress.h>
#include <nearcell/ivf/cell_index.h>
#include <nearcell/kernels/device.h>
#include <nearcell/kernels/fast_rotation.h>
#include <nearcell/kernels/linear_map.h>

namespace nearcell {

class Transform {
   public:
    // `saved`: its parameters will be set; until then a random rotation, which may be costly to
    // make, is not trained.
    Transform(const TransformOptions& options, size_t in_dim, uint64_t seed, bool saved = false);

    size_t in_dim() const { return in_dim_; }
    size_t out_dim() const { return out_dim_; }
    bool is_trained() const { return trained_; }
    bool is_normalization() const { return options_.kind == TransformKind::Normalize; }
    // Whether keys after the transform are those before it, or L2 keys at most those before it.
    bool keeps_keys(bool similarity) const;
    // How many rows training can make use of; 0: it needs none.
    size_t training_rows() const;

    // code_bits: of the product codes that follow, for which OPQ optimises.
    void train(MatrixView<const float> x, size_t code_bits, const Backend& backend, int threads,
               const Progress& progress);
    void apply(MatrixView<const float> x, MatrixView<float> out, const Backend& backend,
               int threads) const;
    // What apply() does, for devices; belongs to this object.
    VectorStep step() const;
    // Normalisation of what another transform gave: rows go back to the mean length of these.
    void learn_length(MatrixView<const float> x);
    // The nearest original; of normalisation rows of the length that was learned, or one.
    void inverse(MatrixView<const float> y, MatrixView<float> out, const Backend& backend,
                 int threads) const;

    // R, scale and mean as one array, the signs of a fast rotation, or the length that
    // normalisation has learned; set_parameters throws Corrupt when the count or a value is wrong.
    std::vector<float> parameters() const;
    void set_parameters(std::span<const float> parameters);

   private:
    bool is_fast() const;
    void set_linear(std::vector<float> rotation, std::vector<float> scale, std::vector<float> mean);

    TransformOptions options_;
    size_t in_dim_;
    size_t out_dim_;
    uint64_t seed_;
    bool trained_ = false;
    float length_ = 1;  // Normalize
    std::vector<float> rotation_, scale_, mean_;
    LinearMap forward_, backward_;
    FastRotation fast_;  // in the place of all of these for rotations that keep the dimension
};

// Scales each row to length one; rows of zeros stay.
void normalize_rows(MatrixView<float> x, int threads);

}  // namespace nearcell
