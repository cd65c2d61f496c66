// The nearest of some rows for each vector: direct keys, tile by tile, of which each thread keeps
// the best, and no matrix of distances in memory. Bound as the tile is; the comparisons add 3
// operations a pair, which for 96 dimensions is 2 %. Keys are those of the CPU's assign_l2_f32 and
// assign_dot_f32, bit for bit, and of equal ones the smaller row is taken, so the labels are the
// CPU's. Few vectors and many rows: the rows are shared among blocks, which meet at an atomic
// minimum of (key, row), whose order does not matter. Ran on an H100 (bench/results/gpu-h100.txt).
#pragma once

#include <nearcell/gpu/kernels/packed_key.cuh>
#include <nearcell/gpu/kernels/tile_product.cuh>

namespace nearcell::gpu {

constexpr int kKeyThreads = 256;
constexpr unsigned long long kNoRow = ~0ull;  // every key was infinite or NaN

struct AssignJob {
    RowOperand vectors, rows;
    unsigned part_rows;        // of a block, a multiple of the tile's
    unsigned long long* best;  // of each vector, as pack_key says; kNoRow before
};

template <TileKey kKey, int kColumns>
__global__ void __launch_bounds__(kTileThreads, 2) assign_rows(AssignJob job) {
    const unsigned first = blockIdx.x * unsigned{kTileVectors}, begin = blockIdx.y * job.part_rows;
    const unsigned end = min(begin + job.part_rows, job.rows.count);
    float best[kVectors];
    unsigned nearest[kVectors];
    SIMT_UNROLL
    for (int i = 0; i < kVectors; ++i) {
        best[i] = __uint_as_float(0x7f800000u);  // infinity: keys must be below
        nearest[i] = 0;
    }
    // A thread's rows come in ascending order: equal keys stay with the first.
    const auto compare = [&](unsigned tile, const float(&sums)[kVectors][kColumns]) {
        const auto left = static_cast<int>(min(end - tile, unsigned{tile_rows(kColumns)}));
        SIMT_UNROLL
        for (int c = 0; c < kColumns; ++c) {
            const int row = row_in_tile<kColumns>(c);
            if (row >= left) continue;
            SIMT_UNROLL
            for (int i = 0; i < kVectors; ++i) {
                const float key = kKey == TileKey::Dot ? -sums[i][c] : sums[i][c];
                if (!(key < best[i])) continue;
                best[i] = key;
                nearest[i] = tile + static_cast<unsigned>(row);
            }
        }
    };
    for_each_tile<kKey, kColumns>(job.vectors, first, job.rows, begin, end, compare);
    SIMT_UNROLL
    for (int i = 0; i < kVectors; ++i) {
        const bool any = best[i] < __uint_as_float(0x7f800000u);
        // Of the threads that have the same vectors.
        const unsigned long long mine =
            smallest_of_lanes(any ? pack_key(best[i], nearest[i]) : kNoRow, 1, kTileSide);
        const unsigned vector = first + static_cast<unsigned>(vector_in_tile(i));
        if (threadIdx.x % kTileSide == 0 && vector < job.vectors.count && mine != kNoRow)
            atomicMin(job.best + vector, mine);
    }
}

struct LabelJob {
    RowOperand vectors, rows;
    const unsigned long long* best;
    unsigned* labels;
    float* keys;  // null: labels only
};

// The key of two vectors by one warp: the 32 virtual lanes of cpu/kernels_pair.cpp, one a thread,
// and its tree. All lanes get it.
template <TileKey kKey>
SIMT_DEVICE float pair_key(const float* a, const float* b, size_t dim) {
    float sum = 0;
    for (size_t first = 0; first < dim; first += 32) {
        const size_t j = first + threadIdx.x % 32;
        sum = add_dimension<kKey>(j < dim ? a[j] : 0.0f, j < dim ? b[j] : 0.0f, sum);
    }
    for (int lanes = 16; lanes > 0; lanes /= 2)
        sum = __fadd_rn(sum, __shfl_xor_sync(kWarp, sum, lanes));
    return kKey == TileKey::Dot ? -sum : sum;
}

// What was found becomes labels, and their keys are computed as the CPU's pair kernels do. One warp
// a vector; memory-bound, at two vectors of floats.
template <TileKey kKey>
__global__ void __launch_bounds__(kKeyThreads) write_labels(LabelJob job) {
    const unsigned vector = blockIdx.x * (kKeyThreads / 32) + threadIdx.x / 32;
    if (vector >= job.vectors.count) return;
    const unsigned long long best = job.best[vector];
    const unsigned label = best == kNoRow ? 0 : tag_of(best);
    if (threadIdx.x % 32 == 0) job.labels[vector] = label;
    if (job.keys == nullptr) return;
    const float key =
        pair_key<kKey>(job.vectors.at(vector, 0), job.rows.at(label, 0), job.vectors.dim);
    if (threadIdx.x % 32 == 0) job.keys[vector] = key;
}

}  // namespace nearcell::gpu
