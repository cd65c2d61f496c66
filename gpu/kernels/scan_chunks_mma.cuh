// The scan of stored codes on tensor cores, for L2 and similarities: a filter that offers the
// places of all vectors that scan_chunks would offer, and a few more (product_bound.cuh), without
// keys: score_candidates.cuh gives them these. It pays where a chunk's codes are decoded for many
// queries.
//
// A block takes a tile of up to 64 queries and one chunk: 128 vectors at a time, a warp two blocks
// of sixteen. Vectors are the A operand: each lane decodes eight of 32 dimensions of four vectors
// (decode_eight.cuh), moves them by the centroid and rounds them to bfloat16 into its own part of
// the operand; what the bound wants to know of them is summed on the way. Queries are the B
// operand, moved and rounded into shared memory, 256 dimensions at a time: once a tile up to that
// dimension, above it once for 128 vectors. Component k of a product is not dimension k but one of
// the same lane, in both operands.
//
// Of 32 dimensions, a warp issues 32 products (65536 multiply-adds), 8 loads of 16 bytes a lane
// from shared memory, and of each of its lane's 32 values some 9 instructions (3 to 5 to decode, 1
// to centre, 1/2 to round, 4 to measure), so that for every product there are some 10 others: on an
// H100, where a product of mma.sync takes a scheduler 6 to 7 clocks, it is decoding that limits. A
// chunk's codes are read once a tile. The epilogue is two multiply-adds and a comparison for each
// pair of vector and query.
//
// Parity and compute-sanitizer on an H100: bench/results/gpu-h100.txt. It needs sm_80 for products
// of bfloat16; on sm_75 it traps, and scan_chunks serves.
#pragma once

#include <nearcell/gpu/kernels/product_tile.cuh>

namespace nearcell::gpu {

// Two vectors of this lane: rows g and g + 8 of a block, g = lane / 4.
struct LaneVectors {
    const uint32_t* words;  // of row g
    float scales[2];
    RoundedSquares sums[2];
};

// Eight dimensions from `first` on of one vector, moved, as pairs of the A operand.
template <CodeKind kKind>
SIMT_DEVICE void round_eight(const ChunkScan& job, const ProductTile<kKind>& shared,
                             const uint32_t* words, float scale, unsigned first, unsigned begin,
                             RoundedSquares& sums, unsigned (&pairs)[4]) {
    float x[8];
    decode_eight<kKind>(job.stored.code, shared.data + (first - begin), words, scale, first, x);
    if (!job.stored.residual && job.stored.centroids != nullptr) {
        SIMT_UNROLL
        for (unsigned i = 0; i < 8; i += 4) {
            const float4 c = simt::load16(
                reinterpret_cast<const float4*>(shared.centroid + (first - begin + i)));
            x[i] -= c.x;
            x[i + 1] -= c.y;
            x[i + 2] -= c.z;
            x[i + 3] -= c.w;
        }
    }
    if (first + 8 > job.stored.code.dim) {
        SIMT_UNROLL
        for (unsigned i = 0; i < 8; ++i) {
            if (first + i >= job.stored.code.dim) x[i] = 0;
        }
    }
    SIMT_UNROLL
    for (unsigned i = 0; i < 4; ++i)
        pairs[i] = add_pair(sums, x[2 * i], x[2 * i + 1]);
}

using ProductSums = float[kColumns][4];

// Adds the products of a slice: of 32 dimensions, lane t of a vector's four has eight, and of these
// the first four are in the first product of sixteen, the others in the second.
template <CodeKind kKind>
SIMT_DEVICE void multiply_slice(const ChunkScan& job, const ProductSlice& slice,
                                const ProductTile<kKind>& shared, LaneVectors& vectors,
                                ProductSums& products) {
    const unsigned group = threadIdx.x % 32 / 4, part = threadIdx.x % 4;
    const unsigned queries = slice.tile.end - slice.tile.begin;
    for (unsigned step = 0; step < slice.dims; step += 32) {
        unsigned a[2][4];
        SIMT_UNROLL
        for (unsigned r = 0; r < 2; ++r) {
            round_eight<kKind>(job, shared, vectors.words + 8 * r, vectors.scales[r],
                               slice.begin + step + 8 * part, slice.begin, vectors.sums[r], a[r]);
        }
        const unsigned first[4] = {a[0][0], a[1][0], a[0][1], a[1][1]};
        const unsigned second[4] = {a[0][2], a[1][2], a[0][3], a[1][3]};
        SIMT_UNROLL
        for (unsigned n = 0; n < kColumns; ++n) {
            if (8 * n >= queries) continue;
            const uint4 q = simt::load16(reinterpret_cast<const uint4*>(
                &shared.queries[8 * n + group][step / 2 + 4 * part]));
            simt::mma_m16n8k16_bfloat16(products[n], first, {q.x, q.y});
            simt::mma_m16n8k16_bfloat16(products[n], second, {q.z, q.w});
        }
    }
}

// By threads, a pair each, when all sums are there.
template <CodeKind kKind, KeySum kSum>
SIMT_DEVICE void find_limits(const ChunkScan& job, const PairTile& tile,
                             const BoundConstants& constants, ProductTile<kKind>& shared) {
    if (threadIdx.x >= kPairTile) return;
    float2& to = shared.limits[threadIdx.x];
    to = make_float2(kNever, 0);
    if (tile.begin + threadIdx.x >= tile.end) return;
    const ScanPair pair = job.pairs.pairs[tile.begin + threadIdx.x];
    const PairSums& sums = shared.sums[threadIdx.x];
    float reach = 0;
    if (job.refined) {
        reach = kSum == KeySum::L2 ? job.margin * __fsqrt_rn(pair.key > 0 ? pair.key : 0)
                                   : job.lengths[pair.query];
    }
    const bool unknown = job.refined && kSum == KeySum::L2 && job.stored.centroids == nullptr;
    to = unknown ? make_float2(kAlways, 0)
                 : pair_limit<kKind, kSum>(constants, sums, job.limits[pair.query], reach);
    if (kSum == KeySum::Dot && is_short(sums.query.square + sums.query.error))
        atomicMax(&shared.width, __float_as_uint(width_of(constants, sums.query)));
}

template <CodeKind kKind>
SIMT_DEVICE VectorFactors factors_of(const CodeView& code, const uint32_t* words) {
    if constexpr (kKind == CodeKind::Bits) {
        return {bits_factor_at(code, words, BitsFactor::Bias),
                bits_factor_at(code, words, BitsFactor::Error)};
    }
    return {0, 0};
}

// The terms of one of this lane's vectors, which four lanes have summed together.
template <CodeKind kKind, KeySum kSum>
SIMT_DEVICE float2 terms_of(const ChunkScan& job, const BoundConstants& constants,
                            const ProductTile<kKind>& shared, const uint32_t* words,
                            RoundedSquares sums) {
    sums.square = sum_of_group(sums.square, 4);
    sums.error = sum_of_group(sums.error, 4);
    const float centre =
        job.stored.residual ? __fsqrt_rn(shared.sums[0].centre) * (1 + constants.sum) : 0.0f;
    const float square = is_short(sums.square + sums.error) ? sums.square : kUnknown;
    return vector_terms<kKind, kSum>(constants, square, error_of(constants, sums, centre),
                                     factors_of<kKind>(job.stored.code, words),
                                     job.refined ? job.margin : 0.0f,
                                     __uint_as_float(shared.width));
}

// What passes of one block, as a set of bits: four to a product, in the order of its sums.
template <KeySum kSum, CodeKind kKind>
SIMT_DEVICE unsigned passing_products(const ProductTile<kKind>& shared, const ProductSums& products,
                                      const float2& upper, const float2& lower) {
    unsigned passing = 0;
    SIMT_UNROLL
    for (unsigned n = 0; n < kColumns; ++n) {
        const float4 two = simt::load16(
            reinterpret_cast<const float4*>(&shared.limits[8 * n + 2 * (threadIdx.x % 4)]));
        const float2 left = make_float2(two.x, two.y), right = make_float2(two.z, two.w);
        if (passes<kSum>(products[n][0], upper, left)) passing |= 1u << (4 * n);
        if (passes<kSum>(products[n][1], upper, right)) passing |= 2u << (4 * n);
        if (passes<kSum>(products[n][2], lower, left)) passing |= 4u << (4 * n);
        if (passes<kSum>(products[n][3], lower, right)) passing |= 8u << (4 * n);
    }
    return passing;
}

// Nearly always nothing passes, and there is one branch to find that out. `vector`: of the chunk,
// the first of the block.
SIMT_DEVICE void offer_passing(const ChunkScan& job, const PairTile& tile, unsigned passing,
                               unsigned vector) {
    while (passing != 0) {
        const auto bit = static_cast<unsigned>(__ffs(static_cast<int>(passing)) - 1);
        passing &= passing - 1;
        const unsigned row = vector + threadIdx.x % 32 / 4 + bit % 4 / 2 * 8;
        const unsigned pair = tile.begin + bit / 4 * 8 + 2 * (threadIdx.x % 4) + bit % 2;
        if (pair >= tile.end || !may_be_found(job.stored, tile.chunk, row)) continue;
        offer_candidate(job.lists, job.pairs.pairs[pair].query, tile.chunk.first_block * 16 + row,
                        0);
    }
}

// This lane's vectors of a block of the chunk; of one past its end, the last one's.
template <CodeKind kKind>
SIMT_DEVICE LaneVectors lane_vectors(const ChunkScan& job, const Chunk& chunk, unsigned block) {
    LaneVectors vectors{};
    const unsigned last = (chunk.vectors - 1) / 16;
    const unsigned place = (chunk.first_block + min(block, last)) * 16;
    vectors.words = words_of(job.stored, place + threadIdx.x % 32 / 4);
    vectors.scales[0] = scale_of_vector<kKind>(job.stored.code, vectors.words);
    vectors.scales[1] = scale_of_vector<kKind>(job.stored.code, vectors.words + 8);
    return vectors;
}

template <CodeKind kKind, KeySum kSum>
SIMT_DEVICE void offer_products(const ChunkScan& job, const PairTile& tile,
                                const BoundConstants& constants, const ProductTile<kKind>& shared,
                                const LaneVectors& vectors, const ProductSums& products,
                                unsigned block) {
    const uint32_t* const words = vectors.words;
    const float2 upper = terms_of<kKind, kSum>(job, constants, shared, words, vectors.sums[0]);
    const float2 lower = terms_of<kKind, kSum>(job, constants, shared, words + 8, vectors.sums[1]);
    const unsigned passing = passing_products<kSum>(shared, products, upper, lower);
    offer_passing(job, tile, passing, block * 16);
}

template <CodeKind kKind, KeySum kSum>
SIMT_DEVICE void scan_product_tile(const ChunkScan& job, const PairTile& tile) {
    SIMT_SHARED(shared, ProductTile<kKind>);
    const unsigned padded = (static_cast<unsigned>(job.stored.code.dim) + 31) / 32 * 32;
    const BoundConstants constants = bound_constants(padded);
    const unsigned blocks = (tile.chunk.vectors + 15) / 16;
    for (unsigned first = 0; first < blocks; first += kProductWarps) {
        const unsigned block = first + threadIdx.x / 32;
        LaneVectors vectors = lane_vectors<kKind>(job, tile.chunk, block);
        ProductSums products = {};
        for (unsigned begin = 0; begin < padded; begin += kProductSlice) {
            const ProductSlice slice{tile, begin, min(padded - begin, kProductSlice)};
            if (first == 0 || padded > kProductSlice) {
                __syncthreads();  // all have read the last slice
                // Set by find_limits, once a tile.
                if (first == 0 && begin == 0 && threadIdx.x == 0) shared.width = 0;
                load_product_slice<kSum>(job, slice, shared);
                __syncthreads();
            }
            if (block < blocks) multiply_slice<kKind>(job, slice, shared, vectors, products);
        }
        if (first == 0) {
            find_limits<kKind, kSum>(job, tile, constants, shared);
            __syncthreads();
        }
        if (block < blocks)
            offer_products<kKind, kSum>(job, tile, constants, shared, vectors, products, block);
    }
}

// As scan_chunks, but kSum is L2 or Dot, and `lists.keys` is not used.
template <CodeKind kKind, KeySum kSum>
__global__ void __launch_bounds__(kProductThreads, 2) scan_chunks_mma(ChunkScan job) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    job.lists.keys = nullptr;
    const unsigned tiles = *job.pairs.tile_count;
    for (unsigned number = blockIdx.x; number < tiles; number += gridDim.x)
        scan_product_tile<kKind, kSum>(job, job.pairs.tiles[number]);
#else
    __trap();
#endif
}

// The kernel for codes of a kind, kProductThreads threads a block; null for L1, and where the
// device's architecture has no products of bfloat16.
inline ChunkScanKernel scan_chunks_mma_kernel(CodeKind kind, Metric metric, int architecture) {
    if (metric == Metric::L1 || architecture < 80) return nullptr;
    return pick_kind(kind, [metric]<CodeKind kKind>() -> ChunkScanKernel {
        return is_similarity(metric) ? scan_chunks_mma<kKind, KeySum::Dot>
                                     : scan_chunks_mma<kKind, KeySum::L2>;
    });
}

}  // namespace nearcell::gpu
