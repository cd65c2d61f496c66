// The sums of Lloyd's update: of each group its rows, in double precision and in their order, so
// that the bits are the CPU's (cpu/move_to_means.cpp). A thread a dimension, 128 of them a block,
// and a block goes through all rows of its group: memory-bound, at 4 bytes a value, as long as no
// group has so many rows that its one block is the last (a thousand rows take some 30 us). On GPUs
// for consumers, whose double precision has 1/64 of their rate, the additions bound it: an RTX 4090
// does 0.6 T of them a second, of which its memory would give 0.25 T.
//
// Ran on an H100 (bench/results/gpu-h100.txt).
#pragma once

#include <nearcell/gpu/kernels/tile_product.cuh>

namespace nearcell::gpu {

constexpr int kMeanThreads = 128;

struct SumJob {
    RowOperand x;
    const float* weights;  // of each row of x; null: all one
    const unsigned* order;
    const unsigned long long* begin;  // groups + 1: of each group's rows in `order`
    double* sums;                     // groups x dim
    double* totals;                   // of each group: its weights
};

__global__ void __launch_bounds__(kMeanThreads) sum_rows(SumJob job) {
    const size_t group = blockIdx.x;
    const unsigned j = blockIdx.y * kMeanThreads + threadIdx.x;
    if (j >= job.x.dim) return;
    const unsigned long long begin = job.begin[group], end = job.begin[group + 1];
    double sum = 0, total = 0;
    if (job.weights == nullptr) {
        for (unsigned long long i = begin; i < end; ++i)
            sum += static_cast<double>(*job.x.at(job.order[i], j));
        total = static_cast<double>(end - begin);
    } else {
        for (unsigned long long i = begin; i < end; ++i) {
            const unsigned row = job.order[i];
            const double weight = static_cast<double>(job.weights[row]);
            sum += weight * static_cast<double>(*job.x.at(row, j));
            total += weight;
        }
    }
    job.sums[group * job.x.dim + j] = sum;
    if (j == 0) job.totals[group] = total;
}

struct MeanJob {
    const double *sums, *totals;
    unsigned groups, dim;
    bool unit;
    float* means;  // groups x dim: those that have no mean stay
};

// One warp a group. All lanes add up the squares of a group, in their order.
__global__ void __launch_bounds__(kMeanThreads) finish_means(MeanJob job) {
    const size_t group = blockIdx.x * (kMeanThreads / 32) + threadIdx.x / 32;
    if (group >= job.groups) return;
    const double* const sums = job.sums + group * job.dim;
    double total = job.totals[group];
    if (!(total > 0)) return;
    if (job.unit) {
        double squares = 0;
        for (unsigned j = 0; j < job.dim; ++j)
            squares += sums[j] * sums[j];
        if (!(squares > 0)) return;
        total = sqrt(squares);
    }
    for (unsigned j = threadIdx.x % 32; j < job.dim; j += 32)
        job.means[group * job.dim + j] = static_cast<float>(sums[j] / total);
}

}  // namespace nearcell::gpu
