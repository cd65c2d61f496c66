// Optimized product quantization: learns the rotation under which product codes err least, to be
// applied before a Product8 or Product4 codec. Starts from principal components dealt out so that
// the subspaces hold equal variance (the parametric solution, already close on real data), then
// alternates codebooks and rotation. Cost of an alternation: rows x out_dim x (in_dim +
// codebook_iterations x 2^bits) multiply-adds and a singular value decomposition. Thread safe: no
// state; bitwise the same for any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <nearcell/core/matrix_view.h>
#include <nearcell/core/progress.h>
#include <nearcell/kernels/backend.h>

namespace nearcell {

struct OpqOptions {
    size_t subquantizers = 0;        // 1 to out_dim; need not divide it
    size_t out_dim = 0;              // 0: that of x
    size_t bits = 8;                 // 1 to 8, of a subquantizer
    size_t iterations = 50;          // alternations at most; fewer when the error has settled
    size_t codebook_iterations = 4;  // Lloyd iterations in each
    size_t max_points = 65536;       // more rows are sampled down to this
    uint64_t seed = 1234;
    int threads = 0;
    Progress progress = {};
};

// The out_dim x in_dim matrix, row-major, with orthonormal rows (out_dim <= in_dim) or columns
// (out_dim > in_dim), that makes product quantization of x err least: non-parametric OPQ (Ge, He,
// Ke, Sun, "Optimized Product Quantization", 2013, section 3.1). Throws InvalidArgument (options
// out of range, fewer rows than 2^bits), NonFinite, Cancelled.
std::vector<float> train_opq(MatrixView<const float> x, const OpqOptions& options,
                             const Backend& backend);

}  // namespace nearcell
