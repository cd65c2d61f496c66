// Queries on their way to the cells: to float32, to length one, through a linear map. The bits are
// those of the CPU: sums of squares in double precision and in order, products in order with fused
// multiply-adds (kernels/linear_map.h). Next to nothing of a search: 10,000 queries of 96
// dimensions are 4 MB.
#pragma once

#include <nearcell/core/vectors.h>
#include <nearcell/gpu/simt/simt.h>

namespace nearcell::gpu {

constexpr int kPrepareThreads = 256;
constexpr unsigned kMapTile = 16;  // rows and outputs of a block of map_rows

struct GivenRows {
    const void* data;
    ElementType type;
    size_t rows, cols, stride;  // stride: elements
};

SIMT_DEVICE float element_at(const GivenRows& rows, size_t i, size_t j) {
    const size_t at = i * rows.stride + j;
    switch (rows.type) {
        case ElementType::Float32: return static_cast<const float*>(rows.data)[at];
        case ElementType::Float16:
            return __half2float(
                __ushort_as_half(static_cast<const unsigned short*>(rows.data)[at]));
        case ElementType::BFloat16:
            return __bfloat162float(
                __ushort_as_bfloat16(static_cast<const unsigned short*>(rows.data)[at]));
        case ElementType::Int8:
            return static_cast<float>(static_cast<const signed char*>(rows.data)[at]);
        case ElementType::UInt8:
            return static_cast<float>(static_cast<const unsigned char*>(rows.data)[at]);
    }
    return 0;
}

// bad: becomes the greatest complement of a value's number, if its size is not at most `largest`,
// so that 0 says that there is none. Values count from `first`.
__global__ void __launch_bounds__(kPrepareThreads)
    convert_rows(GivenRows rows, float largest, size_t first, float* out, unsigned long long* bad) {
    simt::wait_for_previous();
    const size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i >= rows.rows * rows.cols) return;
    const float value = element_at(rows, i / rows.cols, i % rows.cols);
    out[i] = value;
    if (!(fabs(value) <= largest)) atomicMax(bad, ~static_cast<unsigned long long>(first + i));
}

// Rows of zeros stay. A thread a row.
__global__ void __launch_bounds__(kPrepareThreads)
    normalize_rows(const float* from, size_t rows, size_t dim, float* to) {
    const size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i >= rows) return;
    const float* const row = from + i * dim;
    double squares = 0;
    for (size_t j = 0; j < dim; ++j) {
        const auto value = static_cast<double>(row[j]);
        squares += value * value;
    }
    const double inverse = squares == 0 ? 1.0 : 1.0 / sqrt(squares);
    for (size_t j = 0; j < dim; ++j)
        to[i * dim + j] = static_cast<float>(static_cast<double>(row[j]) * inverse);
}

// matrix: out_dim rows of in_dim; bias may be null.
struct RowMap {
    const float *matrix, *bias;
    size_t in_dim, out_dim;
};

__global__ void __launch_bounds__(kMapTile* kMapTile)
    map_rows(RowMap map, const float* from, size_t rows, float* to) {
    SIMT_SHARED(values, float[kMapTile][kMapTile + 1]);
    SIMT_SHARED(factors, float[kMapTile][kMapTile + 1]);
    const size_t row = size_t{blockIdx.x} * kMapTile + threadIdx.y;
    const size_t out = size_t{blockIdx.y} * kMapTile + threadIdx.x;
    const size_t factor_row = size_t{blockIdx.y} * kMapTile + threadIdx.y;
    float sum = 0;
    for (size_t first = 0; first < map.in_dim; first += kMapTile) {
        const size_t j = first + threadIdx.x;
        const bool inside = j < map.in_dim;
        values[threadIdx.y][threadIdx.x] = row < rows && inside ? from[row * map.in_dim + j] : 0.0f;
        factors[threadIdx.y][threadIdx.x] =
            factor_row < map.out_dim && inside ? map.matrix[factor_row * map.in_dim + j] : 0.0f;
        __syncthreads();
        const auto count = static_cast<unsigned>(min(map.in_dim - first, size_t{kMapTile}));
        for (unsigned i = 0; i < count; ++i)
            sum = __fmaf_rn(factors[threadIdx.x][i], values[threadIdx.y][i], sum);
        __syncthreads();
    }
    if (row >= rows || out >= map.out_dim) return;
    const float key = 0.0f - sum;  // as the CPU's product has it
    to[row * map.out_dim + out] = map.bias == nullptr ? -key : map.bias[out] - key;
}

}  // namespace nearcell::gpu
