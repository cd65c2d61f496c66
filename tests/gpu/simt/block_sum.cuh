// Sums of rows, a block each in turn: shuffles inside warps, shared memory between them.
#pragma once

#include <nearcell/gpu/simt/simt.h>

namespace nearcell::gpu {

template <int kThreads>
__global__ void block_sum_kernel(const float* in, int rows, int columns, float* sums) {
    constexpr int kWarps = kThreads / 32;
    SIMT_SHARED(partial, float[kWarps]);
    const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
    for (int row = static_cast<int>(blockIdx.x); row < rows; row += static_cast<int>(gridDim.x)) {
        float sum = 0;
        for (int i = thread; i < columns; i += kThreads)
            sum += in[row * columns + i];
        SIMT_UNROLL
        for (int half = 16; half > 0; half /= 2)
            sum += __shfl_xor_sync(0xffffffffu, sum, half);
        if (lane == 0) partial[warp] = sum;
        __syncthreads();
        if (thread == 0) {
            float total = 0;
            for (int w = 0; w < kWarps; ++w)
                total += partial[w];
            sums[row] = total;
        }
        __syncthreads();
    }
}

}  // namespace nearcell::gpu
