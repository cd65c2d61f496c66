// Rotations learned or drawn for quantization: each is an out_dim x in_dim matrix, row-major, with
// orthonormal rows (out_dim <= in_dim) or columns (out_dim > in_dim).
#pragma once

#include <cstdint>
#include <vector>

#include <nearcell/core/matrix_view.h>
#include <nearcell/core/progress.h>
#include <nearcell/kernels/backend.h>

namespace nearcell {

// A random orthonormal matrix: QR of a Gaussian one, signs fixed so that it depends on the seed only.
std::vector<float> random_rotation(size_t in_dim, size_t out_dim, uint64_t seed);

struct OpqOptions {
    size_t subquantizers = 0;
    size_t out_dim = 0;
    size_t bits = 8;
    size_t iterations = 50;           // alternations of rotation and codebooks
    size_t codebook_iterations = 4;   // Lloyd iterations in each
    size_t max_points = 65536;
    uint64_t seed = 1234;
    int threads = 0;
    Progress progress;
};

// The rotation that makes product quantization of x err least: OPQ, non-parametric (Ge, He, Ke, Sun,
// "Optimized Product Quantization", 2013, section 3.1).
std::vector<float> train_opq(MatrixView<const float> x, const OpqOptions& options,
                             const Backend& backend);

}  // namespace nearcell
