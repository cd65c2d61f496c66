// What a block of scan_chunks_mma.cuh keeps in shared memory: the queries of a tile, moved and
// rounded to bfloat16, some dimensions at a time; what the bound wants to know of each; and what
// all vectors share of a dimension. Eight lanes round a query, so that a warp reads 64 bytes of
// each of four, with some 10 instructions a value and 12 shuffles a query of each slice.
#pragma once

#include <nearcell/gpu/kernels/decode_eight.cuh>
#include <nearcell/gpu/kernels/product_bound.cuh>

namespace nearcell::gpu {

constexpr unsigned kProductThreads = 256;
constexpr unsigned kProductWarps = kProductThreads / 32;
constexpr unsigned kColumns = kPairTile / 8;          // products side by side
constexpr unsigned kProductSlice = 256;               // dimensions in shared memory
constexpr unsigned kStride = kProductSlice / 2 + 16;  // words of a query: banks differ by rows
constexpr unsigned kQueryLanes = 8;                   // that round a query together

// The tile in shared memory.
template <CodeKind kKind>
struct alignas(16) ProductTile {
    unsigned queries[kPairTile][kStride];  // pairs of bfloat16
    float centroid[kProductSlice];         // what vectors are moved by
    DimensionData<kKind> data[kProductSlice];
    PairSums sums[kPairTile];
    float2 limits[kPairTile];
    unsigned width;  // the bits of w
};

SIMT_DEVICE unsigned round_pair(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return unsigned{__bfloat16_as_ushort(pair.x)} | unsigned{__bfloat16_as_ushort(pair.y)} << 16;
}

// Adds what rounding made of one value.
SIMT_DEVICE void add_rounded(RoundedSquares& sums, float value, unsigned bits) {
    const float rounded = __uint_as_float(bits);
    const float error = value - rounded;
    sums.square = __fmaf_rn(rounded, rounded, sums.square);
    sums.error = __fmaf_rn(error, error, sums.error);
}
// The same of two, which it rounds.
SIMT_DEVICE unsigned add_pair(RoundedSquares& sums, float low, float high) {
    const unsigned pair = round_pair(low, high);
    add_rounded(sums, low, pair << 16);
    add_rounded(sums, high, pair & 0xffff0000u);
    return pair;
}

// What a block works on: a tile, and dimensions [begin, begin + dims), where dims is a multiple of
// 32 and may reach past the end.
struct ProductSlice {
    PairTile tile;
    unsigned begin, dims;
};

// Rounds dimensions of a query, as eight lanes; zero past the end and where there is no query.
template <KeySum kSum>
SIMT_DEVICE PairSums round_query(const ChunkScan& job, const ProductSlice& slice, unsigned number,
                                 unsigned* to) {
    const size_t dim = job.stored.code.dim;
    const bool there = slice.tile.begin + number < slice.tile.end;
    const size_t at = there ? job.pairs.pairs[slice.tile.begin + number].query * dim : 0;
    const float* const centroid = job.stored.centroids == nullptr
                                      ? nullptr
                                      : job.stored.centroids + slice.tile.chunk.cell * dim;
    PairSums sums;
    for (unsigned i = threadIdx.x % kQueryLanes * 2; i < slice.dims; i += kQueryLanes * 2) {
        float values[2];
        SIMT_UNROLL
        for (unsigned k = 0; k < 2; ++k) {
            const unsigned j = slice.begin + i + k;
            const bool inside = there && j < dim;
            const float query = inside ? job.queries[at + j] : 0.0f;
            const float moved = inside && centroid != nullptr ? centroid[j] : 0.0f;
            values[k] = kSum == KeySum::L2 ? query - moved : query;
            sums.product = __fmaf_rn(query, moved, sums.product);
            sums.centre = __fmaf_rn(moved, moved, sums.centre);
        }
        to[i / 2] = add_pair(sums.query, values[0], values[1]);
    }
    sums.query.square = sum_of_group(sums.query.square, kQueryLanes);
    sums.query.error = sum_of_group(sums.query.error, kQueryLanes);
    sums.product = sum_of_group(sums.product, kQueryLanes);
    sums.centre = sum_of_group(sums.centre, kQueryLanes);
    return sums;
}

// Sums are over all slices of the first time.
template <KeySum kSum, CodeKind kKind>
SIMT_DEVICE void load_queries(const ChunkScan& job, const ProductSlice& slice,
                              ProductTile<kKind>& shared) {
    for (unsigned number = threadIdx.x / kQueryLanes; number < kPairTile;
         number += kProductThreads / kQueryLanes) {
        const PairSums sums = round_query<kSum>(job, slice, number, shared.queries[number]);
        if (threadIdx.x % kQueryLanes != 0) continue;
        PairSums& all = shared.sums[number];
        if (slice.begin == 0) all = PairSums{};
        all.query.square += sums.query.square;
        all.query.error += sums.query.error;
        all.product += sums.product;
        all.centre += sums.centre;
    }
}

template <KeySum kSum, CodeKind kKind>
SIMT_DEVICE void load_product_slice(const ChunkScan& job, const ProductSlice& slice,
                                    ProductTile<kKind>& shared) {
    const auto dim = static_cast<unsigned>(job.stored.code.dim);
    for (unsigned i = threadIdx.x; i < slice.dims; i += kProductThreads) {
        const unsigned j = slice.begin + i;
        const bool moved = job.stored.centroids != nullptr && !job.stored.residual && j < dim;
        shared.centroid[i] =
            moved ? job.stored.centroids[size_t{slice.tile.chunk.cell} * dim + j] : 0.0f;
        shared.data[i] = dimension_data<kKind>(job.stored.code, j < dim ? j : 0);
    }
    load_queries<kSum>(job, slice, shared);
}

}  // namespace nearcell::gpu
