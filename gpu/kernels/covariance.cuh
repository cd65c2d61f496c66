// What PCA sums: the products of rows less a shift, and the rows themselves, all in double
// precision. A block takes 64 x 64 products on or above the diagonal for some rows, 16 rows at a
// time from shared memory, and a thread 4 x 4 of them: 64 bytes of shared memory for 16 multiply-
// adds, of which a processor of an A100 or H100 does 64 a cycle in double precision: those bound
// it, 17 T a second on an H100, and on GPUs for consumers at 1/64 of their usual rate. Parts of the
// rows are summed side by side and then added in their order; a row is added after those before it,
// so that the bits do not depend on the device. Error: (rows + 2) 2^-53 of the sum of the terms'
// magnitudes, as on the CPU.
#pragma once

#include <nearcell/gpu/kernels/tile_product.cuh>

namespace nearcell::gpu {

constexpr int kProductTile = 64;  // products, squared, of a block
constexpr int kProductRows = 16;  // at a time
constexpr int kProductThreads = 256, kProductSide = 16, kProducts = kProductTile / kProductSide;

struct ProductJob {
    RowOperand x;
    const double* shift;
    unsigned part_rows;  // of a block, in y
    double* partial;     // of each part: dim x dim products, then dim sums
};

// The tile that is number `tile` of those on and above the diagonal.
SIMT_DEVICE void place_of_tile(unsigned tile, unsigned tiles, unsigned& row, unsigned& column) {
    row = 0;
    while (tile >= tiles - row)
        tile -= tiles - row++;
    column = row + tile;
}

using StagedRows = double[kProductRows][kProductTile];

SIMT_DEVICE void stage_rows(const ProductJob& job, unsigned first, unsigned end, unsigned column,
                            StagedRows& to) {
    for (unsigned e = threadIdx.x; e < kProductRows * kProductTile; e += kProductThreads) {
        const unsigned r = e / kProductTile, c = e % kProductTile;
        const bool there = first + r < end && column + c < job.x.dim;
        to[r][c] =
            there ? static_cast<double>(*job.x.at(first + r, column + c)) - job.shift[column + c]
                  : 0.0;
    }
}

SIMT_DEVICE void add_staged(const StagedRows& left, const StagedRows& right,
                            double (&sums)[kProducts][kProducts]) {
    const unsigned y = threadIdx.x / kProductSide, x = threadIdx.x % kProductSide;
    SIMT_NO_UNROLL
    for (int r = 0; r < kProductRows; ++r) {
        double a[kProducts], b[kProducts];
        SIMT_UNROLL
        for (int i = 0; i < kProducts; ++i) {
            a[i] = left[r][y + static_cast<unsigned>(i * kProductSide)];
            b[i] = right[r][x + static_cast<unsigned>(i * kProductSide)];
        }
        SIMT_UNROLL
        for (int i = 0; i < kProducts; ++i) {
            SIMT_UNROLL
            for (int j = 0; j < kProducts; ++j)
                sums[i][j] = fma(a[i], b[j], sums[i][j]);
        }
    }
}

SIMT_DEVICE double* partial_of(const ProductJob& job, unsigned part) {
    return job.partial + size_t{part} * (size_t{job.x.dim} + 1) * job.x.dim;
}

__global__ void __launch_bounds__(kProductThreads, 2) sum_products(ProductJob job) {
    SIMT_SHARED(left, StagedRows);
    SIMT_SHARED(right, StagedRows);
    const unsigned dim = job.x.dim, tiles = (dim + kProductTile - 1) / kProductTile;
    unsigned row = 0, column = 0;
    place_of_tile(blockIdx.x, tiles, row, column);
    const bool sums_columns = row == column && threadIdx.x < kProductTile;
    row *= kProductTile;
    column *= kProductTile;
    const unsigned begin = blockIdx.y * job.part_rows;
    const unsigned end = min(begin + job.part_rows, job.x.count);
    double sums[kProducts][kProducts] = {};
    double sum = 0;
    for (unsigned first = begin; first < end; first += kProductRows) {
        stage_rows(job, first, end, row, left);
        stage_rows(job, first, end, column, right);
        __syncthreads();
        add_staged(left, right, sums);
        for (int r = 0; sums_columns && r < kProductRows; ++r)
            sum += left[r][threadIdx.x];
        __syncthreads();  // before the next rows overwrite these
    }
    double* const partial = partial_of(job, blockIdx.y);
    const unsigned y = row + threadIdx.x / kProductSide, x = column + threadIdx.x % kProductSide;
    SIMT_UNROLL
    for (int i = 0; i < kProducts; ++i) {
        SIMT_UNROLL
        for (int j = 0; j < kProducts; ++j) {
            const unsigned r = y + static_cast<unsigned>(i * kProductSide);
            const unsigned c = x + static_cast<unsigned>(j * kProductSide);
            if (r < dim && c < dim) partial[size_t{r} * dim + c] = sums[i][j];
        }
    }
    if (sums_columns && row + threadIdx.x < dim)
        partial[size_t{dim} * dim + row + threadIdx.x] = sum;
}

// What was summed by parts: `stride` doubles each, of lines of `dim` from `first` to the sums.
struct PartialSums {
    const double* partial;
    size_t stride;
    unsigned parts, first, dim;
};

// Adds the parts to the totals, in their order.
__global__ void __launch_bounds__(kProductThreads) add_parts(PartialSums sums, double* totals) {
    const unsigned row = sums.first + blockIdx.y, dim = sums.dim;
    const unsigned column = blockIdx.x * unsigned{kProductThreads} + threadIdx.x;
    if (column >= dim) return;
    if (row < dim && row / kProductTile > column / kProductTile) return;  // nobody summed them
    const double* const part_sums = sums.partial + size_t{blockIdx.y} * dim + column;
    double total = totals[size_t{row} * dim + column];
    for (unsigned part = 0; part < sums.parts; ++part)
        total += part_sums[part * sums.stride];
    totals[size_t{row} * dim + column] = total;
}

// For products by a library: the rows less the shift, as doubles, and the sums, of which each part
// has a line. A thread a column of a part; memory-bound: 4 bytes read of a value and 8 written.
__global__ void __launch_bounds__(kProductThreads) shift_rows(ProductJob job, double* shifted) {
    const unsigned dim = job.x.dim;
    const unsigned column = blockIdx.x * unsigned{kProductThreads} + threadIdx.x;
    if (column >= dim) return;
    const unsigned begin = blockIdx.y * job.part_rows;
    const unsigned end = min(begin + job.part_rows, job.x.count);
    double sum = 0;
    for (unsigned row = begin; row < end; ++row) {
        const double value = static_cast<double>(*job.x.at(row, column)) - job.shift[column];
        shifted[size_t{row} * dim + column] = value;
        sum += value;
    }
    job.partial[size_t{blockIdx.y} * dim + column] = sum;
}

}  // namespace nearcell::gpu
