// The tile: keys of 128 vectors and some rows, in registers. What assign_rows.cuh and
// score_matrix.cuh share; they differ only in what they do with the keys. The counterpart of
// cpu/tile.h: each key is summed in the order of the dimensions, with fused multiply-adds, so it
// has the bits of the CPU's and does not depend on the tile.
//
// A block of 256 threads, 16 by 16, each with 8 vectors by kColumns rows. Sixteen dimensions at a
// time are brought to shared memory by cp.async, dimension by dimension, while the sixteen before
// are added up. With 8 columns a thread loads 64 bytes of shared memory a dimension for 64
// multiply-adds, and for L2 as many subtractions: 128 bytes a cycle are what a processor's shared
// memory gives, 128 operations what its lanes do, so the lanes bound it, at half of the
// multiply-add peak for L2 (an H100's 30 T a second: 15 T pairs x dimensions), at all of it for dot
// products. From L2 come 16 KiB for 262144 multiply-adds. Blocking as in every matrix product; see
// for example Volkov, Demmel, "Benchmarking GPUs to tune dense linear algebra", 2008.
//
// Ran on an H100 (bench/results/gpu-h100.txt).
#pragma once

#include <nearcell/gpu/simt/simt.h>

namespace nearcell::gpu {

enum class TileKey { L2, Dot, L1 };

constexpr int kTileThreads = 256;
constexpr int kTileSide = 16;                        // threads along vectors and along rows
constexpr int kVectors = 8;                          // of a thread
constexpr int kTileVectors = kTileSide * kVectors;   // of a block
constexpr int kTileDepth = 16;                       // dimensions at a time
constexpr int kWideColumns = 8, kNarrowColumns = 2;  // rows of a thread
constexpr int tile_rows(int columns) { return kTileSide * columns; }

// Vectors row after row. Numbers of 32 bits, here and below, leave more registers to the sums.
struct RowOperand {
    const float* data;
    size_t stride;
    unsigned count, dim;

    SIMT_DEVICE const float* at(unsigned row, unsigned j) const { return data + row * stride + j; }
};
// Vectors as FloatBlocks has them: [dim][16] a block.
struct BlockOperand {
    const float* data;
    unsigned count, dim;

    SIMT_DEVICE const float* at(unsigned row, unsigned j) const {
        return data + (size_t{row / 16} * dim + j) * 16 + row % 16;
    }
};

// Which element a thread copies in its turn: neighbours in memory by neighbouring threads.
template <int kCount>
SIMT_DEVICE void place_of(const RowOperand&, int turn, int& row, int& j) {
    row = (turn * kTileThreads + static_cast<int>(threadIdx.x)) / kTileDepth;
    j = static_cast<int>(threadIdx.x) % kTileDepth;
}
template <int kCount>
SIMT_DEVICE void place_of(const BlockOperand&, int turn, int& row, int& j) {
    const int element = turn * kTileThreads + static_cast<int>(threadIdx.x);
    row = element % kCount;
    j = element / kCount;
}

// How many of the dimensions from `begin` on are staged at a time.
SIMT_DEVICE int depth_at(unsigned dim, unsigned begin) {
    return static_cast<int>(min(dim - begin, unsigned{kTileDepth}));
}

// The rows are padded so that a thread's four values keep their 16 bytes and columns lie in
// different banks.
template <int kCount>
using StagedDimensions = float[kTileDepth][kCount + 4];

// Starts to copy kCount vectors, the first of which is `first`; those past the last are zeros.
template <int kCount, class Operand>
SIMT_DEVICE void stage(const Operand& from, unsigned first, unsigned begin,
                       StagedDimensions<kCount>& to) {
    const int depth = depth_at(from.dim, begin);
    SIMT_NO_UNROLL  // addresses of all turns would take the registers of sums
        for (int turn = 0; turn < kCount * kTileDepth / kTileThreads; ++turn) {
        int row = 0, j = 0;
        place_of<kCount>(from, turn, row, j);
        if (j >= depth) continue;
        const unsigned vector = first + static_cast<unsigned>(row);
        const bool there = vector < from.count;
        simt::cp_async<4>(&to[j][row],
                          there ? from.at(vector, begin + static_cast<unsigned>(j)) : from.data,
                          there ? 4 : 0);
    }
}

// Where a thread's i-th vector, or c-th row, is within the tile.
SIMT_DEVICE int vector_in_tile(int i) {
    return static_cast<int>(threadIdx.x) / kTileSide * 4 + (i < 4 ? i : kTileVectors / 2 + i - 4);
}
template <int kColumns>
SIMT_DEVICE int row_in_tile(int c) {
    const int x = static_cast<int>(threadIdx.x) % kTileSide;
    if constexpr (kColumns == kWideColumns)
        return x * 4 + (c < 4 ? c : tile_rows(kColumns) / 2 + c - 4);
    else
        return x * kColumns + c;
}

SIMT_DEVICE void load_four(const float* from, float* to) {
    const float4 four = simt::load16(reinterpret_cast<const float4*>(from));
    to[0] = four.x;
    to[1] = four.y;
    to[2] = four.z;
    to[3] = four.w;
}
template <int kColumns>
SIMT_DEVICE void load_columns(const float* dimension, float (&to)[kColumns]) {
    if constexpr (kColumns == kWideColumns) {
        load_four(dimension + row_in_tile<kColumns>(0), to);
        load_four(dimension + row_in_tile<kColumns>(4), to + 4);
    } else {
        SIMT_UNROLL
        for (int c = 0; c < kColumns; ++c)
            to[c] = dimension[row_in_tile<kColumns>(c)];
    }
}

template <TileKey kKey>
SIMT_DEVICE float add_dimension(float a, float b, float sum) {
    if constexpr (kKey == TileKey::Dot) return __fmaf_rn(a, b, sum);
    const float difference = __fsub_rn(a, b);
    if constexpr (kKey == TileKey::L2) return __fmaf_rn(difference, difference, sum);
    return __fadd_rn(fabs(difference), sum);
}

template <TileKey kKey, int kColumns>
SIMT_DEVICE void add_dimensions(const StagedDimensions<kTileVectors>& vectors,
                                const StagedDimensions<tile_rows(kColumns)>& rows, int depth,
                                float (&sums)[kVectors][kColumns]) {
    SIMT_NO_UNROLL  // other warps fill the time of loads, and sums want the registers
        for (int j = 0; j < depth; ++j) {
        float a[kVectors], b[kColumns];
        load_four(&vectors[j][vector_in_tile(0)], a);
        load_four(&vectors[j][vector_in_tile(4)], a + 4);
        load_columns<kColumns>(rows[j], b);
        SIMT_UNROLL
        for (int i = 0; i < kVectors; ++i) {
            SIMT_UNROLL
            for (int c = 0; c < kColumns; ++c)
                sums[i][c] = add_dimension<kKey>(a[i], b[c], sums[i][c]);
        }
    }
}

// Calls done(first row, sums) for tile after tile of the rows from `begin` to `end`, with the sums
// of this thread's vectors and rows.
template <TileKey kKey, int kColumns, class Rows, class Done>
SIMT_DEVICE void for_each_tile(const RowOperand& vectors, unsigned first_vector, const Rows& rows,
                               unsigned begin, unsigned end, const Done& done) {
    constexpr unsigned kTileRows = tile_rows(kColumns);
    SIMT_SHARED(staged_vectors, StagedDimensions<kTileVectors>[2]);
    SIMT_SHARED(staged_rows, StagedDimensions<kTileRows>[2]);
    const auto start = [&](int buffer, unsigned row, unsigned dimension) {
        stage<kTileVectors>(vectors, first_vector, dimension, staged_vectors[buffer]);
        stage<kTileRows>(rows, row, dimension, staged_rows[buffer]);
    };
    float sums[kVectors][kColumns] = {};
    int buffer = 0;
    if (begin < end) start(buffer, begin, 0);
    simt::cp_async_commit();
    for (unsigned row = begin, dimension = 0; row < end; buffer = 1 - buffer) {
        const bool last = dimension + kTileDepth >= vectors.dim;
        const unsigned next_row = last ? row + kTileRows : row;
        const unsigned next_dimension = last ? 0 : dimension + kTileDepth;
        if (next_row < end) {
            start(1 - buffer, next_row, next_dimension);
            simt::cp_async_commit();
            simt::cp_async_wait<1>();
        } else {
            simt::cp_async_wait<0>();
        }
        __syncthreads();
        add_dimensions<kKey, kColumns>(staged_vectors[buffer], staged_rows[buffer],
                                       depth_at(vectors.dim, dimension), sums);
        if (last) {
            done(row, sums);
            SIMT_UNROLL
            for (int i = 0; i < kVectors; ++i) {
                SIMT_UNROLL
                for (int c = 0; c < kColumns; ++c)
                    sums[i][c] = 0;
            }
        }
        row = next_row;
        dimension = next_dimension;
        __syncthreads();  // before the next copies overwrite what was just read
    }
}

}  // namespace nearcell::gpu
