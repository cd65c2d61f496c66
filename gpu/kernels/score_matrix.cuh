// The keys of every query and every row, as a matrix: one tile a block. Bound as the tile is, and
// for few dimensions by the 4 bytes written a key: below 40 dimensions that takes longer than the
// sums. Keys have the bits of the CPU's blocked kernels. Ran on an H100
// (bench/results/gpu-h100.txt).
#pragma once

#include <nearcell/gpu/kernels/tile_product.cuh>

namespace nearcell::gpu {

struct ScoreJob {
    RowOperand queries;
    BlockOperand rows;
    float* keys;  // queries x rows
};

template <TileKey kKey>
__global__ void __launch_bounds__(kTileThreads, 2) score_matrix(ScoreJob job) {
    constexpr unsigned kRows = tile_rows(kWideColumns), kQueries = kTileVectors;
    const unsigned first = blockIdx.x * kQueries, begin = blockIdx.y * kRows;
    const unsigned end = min(begin + kRows, job.rows.count);
    const auto store = [&](unsigned tile, const float(&sums)[kVectors][kWideColumns]) {
        const auto queries_left = static_cast<int>(min(job.queries.count - first, kQueries));
        const auto rows_left = static_cast<int>(end - tile);
        SIMT_UNROLL
        for (int i = 0; i < kVectors; ++i) {
            const int query = vector_in_tile(i);
            if (query >= queries_left) continue;
            float* const keys =
                job.keys + size_t{first + static_cast<unsigned>(query)} * job.rows.count + tile;
            SIMT_UNROLL
            for (int c = 0; c < kWideColumns; ++c) {
                const int row = row_in_tile<kWideColumns>(c);
                if (row >= rows_left) continue;
                keys[row] = kKey == TileKey::Dot ? 0.0f - sums[i][c] : sums[i][c];
            }
        }
    };
    for_each_tile<kKey, kWideColumns>(job.queries, first, job.rows, begin, end, store);
}

}  // namespace nearcell::gpu
