// Inner products of 16 queries with 32 vectors a block, half precision on tensor cores: tiles of 32
// dimensions come in by cp.async, one ahead of the one in use.
#pragma once

#include <nearcell/gpu/simt/simt.h>

namespace nearcell::gpu {

constexpr int kProductQueries = 16, kProductVectors = 32, kProductDepth = 32;
constexpr int kProductPitch = kProductDepth + 8;  // so that eight rows lie in different banks

// queries [16][d], vectors [32 * gridDim.x][d], products [16][32 * gridDim.x]; d a multiple of 32.
// One block of 128 threads for 32 vectors; each of its warps has eight.
__global__ void matrix_product_kernel(const __half* queries, const __half* vectors, int d,
                                      float* products) {
    SIMT_SHARED(query_tile, uint4[2][kProductQueries][kProductPitch / 8]);
    SIMT_SHARED(vector_tile, uint4[2][kProductVectors][kProductPitch / 8]);
    const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
    const int first = static_cast<int>(blockIdx.x) * kProductVectors;
    const int part = thread % 4, row = thread / 4;  // 16 bytes of a row
    const auto load = [&](int k) {
        const int stage = k / kProductDepth % 2;
        if (row < kProductQueries)
            simt::cp_async<16>(&query_tile[stage][row][part], queries + row * d + k + 8 * part);
        simt::cp_async<16>(&vector_tile[stage][row][part],
                           vectors + (first + row) * d + k + 8 * part);
        simt::cp_async_commit();
    };
    float sums[4] = {0, 0, 0, 0};
    load(0);
    for (int k = 0; k < d; k += kProductDepth) {
        const int stage = k / kProductDepth % 2;
        if (k + kProductDepth < d) {
            load(k + kProductDepth);
            simt::cp_async_wait<1>();
        } else {
            simt::cp_async_wait<0>();
        }
        __syncthreads();
        SIMT_UNROLL
        for (int step = 0; step < kProductDepth / 16; ++step) {
            unsigned a[4], b[2];
            simt::ldmatrix_x4(a, &query_tile[stage][lane % 16][2 * step + lane / 16]);
            const auto* const mine = reinterpret_cast<const unsigned*>(
                &vector_tile[stage][8 * warp + lane / 4][2 * step]);
            b[0] = mine[lane % 4];
            b[1] = mine[lane % 4 + 4];
            simt::mma_m16n8k16_half(sums, a, b);
        }
        __syncthreads();
    }
    const int width = static_cast<int>(gridDim.x) * kProductVectors;
    SIMT_UNROLL
    for (int i = 0; i < 4; ++i) {
        const int query = lane / 4 + 8 * (i / 2);
        products[query * width + first + 8 * warp + 2 * (lane % 4) + i % 2] = sums[i];
    }
}

}  // namespace nearcell::gpu
