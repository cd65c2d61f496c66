// Small steps over arrays of a search: lengths of rows, a value everywhere, some of the rows.
#pragma once

#include <nearcell/gpu/simt/simt.h>

namespace nearcell::gpu {

constexpr int kArrayThreads = 256;

// The length of each row. A thread a row.
__global__ void __launch_bounds__(kArrayThreads)
    row_lengths(const float* rows, size_t count, size_t dim, float* lengths) {
    const size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i >= count) return;
    double squares = 0;
    for (size_t j = 0; j < dim; ++j)
        squares += static_cast<double>(rows[i * dim + j]) * static_cast<double>(rows[i * dim + j]);
    lengths[i] = static_cast<float>(sqrt(squares));
}

template <class T>
__global__ void __launch_bounds__(kArrayThreads) fill_values(T* to, size_t count, T value) {
    const size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i < count) to[i] = value;
}

// Rows of `dim` values that stand anywhere, together. A warp a row.
template <class T>
__global__ void __launch_bounds__(kArrayThreads)
    gather_rows(const T* from, const unsigned* which, size_t count, size_t dim, T* to) {
    const size_t i = (size_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
    if (i >= count) return;
    for (size_t j = threadIdx.x % 32; j < dim; j += 32)
        to[i * dim + j] = from[which[i] * dim + j];
}

}  // namespace nearcell::gpu
