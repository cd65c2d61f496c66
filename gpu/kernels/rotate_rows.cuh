// FastRotation's steps (kernels/fast_rotation.h) on rows in shared memory, a warp a row: products
// with signs, Walsh-Hadamard transforms of the first and the last 2^k values by turns, and after
// every second one sums and differences of the halves. Two levels of a transform at a time, so that
// a value is read from shared memory and written to it once for both: with 128 values 4 transforms
// are 16 such passes of 1 KiB, some 20 KiB of shared memory for 1 KiB of HBM, which an H100 gives
// at 23 TB/s and 3.3 TB/s: shared memory bounds it. Only additions and products, in the order of
// the CPU's: the same bits. Ran on an H100 (bench/results/gpu-h100.txt).
#pragma once

#include <nearcell/gpu/rotation.h>
#include <nearcell/gpu/simt/simt.h>

namespace nearcell::gpu {

constexpr int kRotateWarps = 4;  // of a block, at most

SIMT_DEVICE void multiply_row(float* x, const float* factors, size_t dim) {
    for (size_t j = threadIdx.x % 32; j < dim; j += 32)
        x[j] *= factors[j];
    __syncwarp();
}

// Sums and differences of values h apart, then of those 2 h apart.
SIMT_DEVICE void two_levels(float* x, size_t n, size_t h) {
    for (size_t t = threadIdx.x % 32; t < n / 4; t += 32) {
        float* const at = x + 4 * (t & ~(h - 1)) + (t & (h - 1));
        const float a = at[0], b = at[h], c = at[2 * h], d = at[3 * h];
        const float ab = a + b, a_b = a - b, cd = c + d, c_d = c - d;
        at[0] = ab + cd;
        at[h] = a_b + c_d;
        at[2 * h] = ab - cd;
        at[3 * h] = a_b - c_d;
    }
    __syncwarp();
}

// Sums and differences of the first `count` values and those h further on.
SIMT_DEVICE void one_level(float* x, size_t count, size_t h) {
    for (size_t t = threadIdx.x % 32; t < count; t += 32) {
        const float a = x[t], b = x[t + h];
        x[t] = a + b;
        x[t + h] = a - b;
    }
    __syncwarp();
}

// n: a power of two.
SIMT_DEVICE void transform_row(float* x, size_t n) {
    size_t h = 1;
    for (; 4 * h <= n; h *= 4)
        two_levels(x, n, h);
    if (h < n) one_level(x, h, h);  // the last, where their number is odd
}

// Of an odd number of values the middle one stays.
SIMT_DEVICE void mix_row(float* x, size_t dim) { one_level(x, dim / 2, dim - dim / 2); }

SIMT_DEVICE void rotate_row(const RotateJob& job, size_t n, float* x) {
    const size_t dim = job.dim;
    if (job.inverse) multiply_row(x, job.factors + job.rounds * dim, dim);
    for (size_t step = 0; step < job.rounds; ++step) {
        const size_t round = job.inverse ? job.rounds - 1 - step : step;
        const bool odd = round % 2 == 1;
        float* const part = odd ? x + (dim - n) : x;
        if (job.inverse) {
            if (odd) mix_row(x, dim);
            transform_row(part, n);
            multiply_row(x, job.factors + round * dim, dim);
        } else {
            multiply_row(x, job.factors + round * dim, dim);
            transform_row(part, n);
            if (odd) mix_row(x, dim);
        }
    }
    if (!job.inverse) multiply_row(x, job.factors + job.rounds * dim, dim);
}

// blockDim.x / 32 rows a block at a time, dim floats of shared memory each.
__global__ void __launch_bounds__(kRotateWarps * 32) rotate_rows(RotateJob job) {
    SIMT_DYNAMIC_SHARED(shared, float);
    const size_t warps = blockDim.x / 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float* const x = shared + warp * job.dim;
    size_t n = 1;
    while (2 * n <= job.dim)
        n *= 2;
    for (size_t row = blockIdx.x * warps + warp; row < job.count; row += gridDim.x * warps) {
        // The first and the last step are products, in which a lane has the values that it copies.
        for (size_t j = lane; j < job.dim; j += 32)
            x[j] = job.rows[row * job.dim + j];
        rotate_row(job, n, x);
        for (size_t j = lane; j < job.dim; j += 32)
            job.out[row * job.dim + j] = x[j];
    }
}

}  // namespace nearcell::gpu
