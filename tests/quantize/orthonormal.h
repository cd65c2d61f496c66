// How far a matrix is from having orthonormal rows (or columns, where it is taller than wide).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace nearcell {

// The largest error of a product of two rows (out_dim <= in_dim) or columns; NaN counts as
// infinite.
inline double orthonormal_error(const std::vector<float>& matrix, size_t in_dim, size_t out_dim) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    if (matrix.size() != in_dim * out_dim) return kInfinity;
    const bool by_rows = out_dim <= in_dim;
    const size_t vectors = by_rows ? out_dim : in_dim, length = by_rows ? in_dim : out_dim;
    const auto at = [&](size_t vector, size_t i) {
        return static_cast<double>(by_rows ? matrix[vector * in_dim + i]
                                           : matrix[i * in_dim + vector]);
    };
    double worst = 0;
    for (size_t a = 0; a < vectors; ++a) {
        for (size_t b = a; b < vectors; ++b) {
            double dot = a == b ? -1.0 : 0.0;
            for (size_t i = 0; i < length; ++i)
                dot += at(a, i) * at(b, i);
            worst = std::isnan(dot) ? kInfinity : std::max(worst, std::fabs(dot));
        }
    }
    return worst;
}

}  // namespace nearcell
