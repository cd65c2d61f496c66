// How many values have each leading byte, and in which of these classes the k-th smallest lies:
// blocks count in shared memory, add up in global memory, and the last of them looks for the class.
#pragma once

#include <nearcell/gpu/simt/simt.h>

namespace nearcell::gpu {

constexpr int kClasses = 256;  // and threads in a block

struct RadixResult {
    unsigned kth_class, before;  // how many values are in smaller classes
};

// counts [256] and *tickets begin as zeros.
__global__ void radix_histogram_kernel(const unsigned* values, int count, unsigned k,
                                       unsigned* counts, unsigned* tickets, RadixResult* result) {
    SIMT_SHARED(histogram, unsigned[kClasses]);
    SIMT_SHARED(is_last, bool);
    const int thread = static_cast<int>(threadIdx.x);
    histogram[thread] = 0;
    __syncthreads();
    for (int i = static_cast<int>(blockIdx.x) * kClasses + thread; i < count;
         i += static_cast<int>(gridDim.x) * kClasses)
        atomicAdd(&histogram[values[i] >> 24], 1u);
    __syncthreads();
    atomicAdd(&counts[thread], histogram[thread]);
    __syncthreads();
    if (thread == 0) {
        __threadfence();  // behind the barrier: so it is for what the whole block has added
        is_last = atomicAdd(tickets, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (!is_last) return;
    const unsigned mine = counts[thread];
    histogram[thread] = mine;
    __syncthreads();
    for (int distance = 1; distance < kClasses; distance *= 2) {  // inclusive sums
        const unsigned left = thread >= distance ? histogram[thread - distance] : 0;
        __syncthreads();
        histogram[thread] += left;
        __syncthreads();
    }
    const unsigned through = histogram[thread];
    if (k < through && k >= through - mine)
        *result = {static_cast<unsigned>(thread), through - mine};
}

}  // namespace nearcell::gpu
