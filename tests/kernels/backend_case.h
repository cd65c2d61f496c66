// What the tests of the backend share: random matrices, and keys in double precision.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <nearcell/core/matrix_view.h>
#include <nearcell/core/metric.h>
#include <nearcell/core/random.h>

namespace nearcell::checks {

// Rows of random values whose stride is larger than their number of columns.
struct Matrix {
    size_t rows, cols, stride;
    std::vector<float> data;

    Matrix(size_t rows_, size_t cols_, size_t gap = 0)
        : rows(rows_), cols(cols_), stride(cols_ + gap), data(rows * stride, -99.0f) {}
    Matrix(size_t rows_, size_t cols_, Random& random, double shift = 0, size_t gap = 0)
        : Matrix(rows_, cols_, gap) {
        for (size_t i = 0; i < rows; ++i) {
            for (size_t j = 0; j < cols; ++j)
                row(i)[j] = static_cast<float>(random.normal() + shift);
        }
    }
    float* row(size_t i) { return data.data() + i * stride; }
    const float* row(size_t i) const { return data.data() + i * stride; }
    MatrixView<float> view() { return {data.data(), rows, cols, stride}; }
    MatrixView<const float> view() const { return {data.data(), rows, cols, stride}; }
};

struct ExactKey {
    double key = 0;
    double magnitude = 0;  // of its terms, added up
};

inline ExactKey exact_key(Metric metric, const float* a, const float* b, size_t d) {
    ExactKey exact;
    for (size_t j = 0; j < d; ++j) {
        const double x = static_cast<double>(a[j]), y = static_cast<double>(b[j]);
        double term = (x - y) * (x - y);
        if (is_similarity(metric)) term = -x * y;
        if (metric == Metric::L1) term = std::fabs(x - y);
        exact.key += term;
        exact.magnitude += std::fabs(term);
    }
    return exact;
}

// How far a key summed in floats may lie from the exact one.
inline double key_error(const ExactKey& exact, size_t d) {
    return static_cast<double>(d + 4) * 0x1p-24 * exact.magnitude + 1e-38;
}

constexpr Metric kAllMetrics[] = {Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1};

}  // namespace nearcell::checks
