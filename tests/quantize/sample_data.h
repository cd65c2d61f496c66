// Data sets of the quantize tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <nearcell/core/matrix_view.h>
#include <nearcell/core/random.h>

namespace nearcell {

struct Matrix {
    size_t rows;
    size_t cols;
    std::vector<float> values;

    Matrix(size_t rows_, size_t cols_) : rows(rows_), cols(cols_), values(rows_ * cols_) {}
    MatrixView<const float> view() const { return {values.data(), rows, cols}; }
    MatrixView<float> view() { return {values.data(), rows, cols}; }
    float* row(size_t i) { return values.data() + i * cols; }
    const float* row(size_t i) const { return values.data() + i * cols; }
};

inline Matrix gaussian_rows(size_t rows, size_t cols, uint64_t seed) {
    Matrix x(rows, cols);
    Random random(seed);
    for (float& value : x.values)
        value = static_cast<float>(random.normal());
    return x;
}

// Gaussian clouds of spread 0.3 around `clouds` centres.
inline Matrix cloudy_rows(size_t rows, size_t cols, size_t clouds, uint64_t seed) {
    const Matrix centres = gaussian_rows(clouds, cols, seed);
    Matrix x = gaussian_rows(rows, cols, seed + 1);
    Random random(seed + 2);
    for (size_t i = 0; i < rows; ++i) {
        const float* centre = centres.row(random.below(clouds));
        for (size_t j = 0; j < cols; ++j)
            x.row(i)[j] = centre[j] + 0.3f * x.row(i)[j];
    }
    return x;
}

}  // namespace nearcell
