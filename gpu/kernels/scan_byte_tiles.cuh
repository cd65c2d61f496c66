// The scan of byte tiles on integer tensor cores, for L2 and similarities: of every vector that can
// have a key within its query's limit, the place and an interval that the key lies in. No guess:
// the bounds are those of product_bound.cuh, with values rounded to int8 for values rounded to
// bfloat16 and p = scale * scale * (an exact integer). narrow_lists.cuh goes on with intervals, and
// what is left is scored by the codes.
//
// A block takes a tile of up to 128 queries and one chunk: a warp 32 vectors at a time, whose
// values (the A operand) it reads as they lie, 16 bytes a lane, from HBM for the first tile of a
// chunk and from L2 for others. Queries (the B operand) are moved by the centroid and rounded into
// shared memory, once a tile, as many at a time as fit.
//
// Of 32 vectors, 16 queries and 32 dimensions: 4 products and 2 loads of 8 bytes a lane of shared
// memory; then of each pair of vector and query 5 instructions: to float, times scale, and the
// comparison's three. Reading: dim + 16 bytes a vector and tile of chunk. Rounding queries: some 8
// instructions a value of each tile. What passes goes through shared memory, so that all lanes of a
// warp work on it.
//
// On an H100 the scans of 10,000 queries of 96 dimensions, 128 of 16,384 cells each, ten million
// vectors, take 1.7 ms (bench/results/gpu-h100.txt, kernels): instructions are issued in 51 % of
// the slots, HBM is at 29 %: neither limits, but 20 warps a processor do not hide all waiting.
#pragma once

#include <nearcell/gpu/kernels/byte_tiles.cuh>

namespace nearcell::gpu {

constexpr unsigned kByteThreads = 128, kByteWarps = kByteThreads / 32;
constexpr unsigned kByteTile = 128;  // queries
// Sums that a lane has in registers: of blocks of sixteen vectors by columns of eight queries.
constexpr unsigned kByteRows = 2, kByteColumns = 2;
constexpr unsigned kByteLanes = 8;  // that round a query together
// What passes is kept by each warp, until there is enough for all its lanes.
constexpr unsigned kFoundRoom = 32 + kByteRows * 16 * kByteColumns * 8;

struct ByteScan {
    StoredCodes stored;
    ScanPairs pairs;
    CandidateLists lists;  // with an interval's two ends for a key (pack_interval)
    // Not 0: each query has one chunk in this round, of which so many vectors, if there are, give
    // the upper ends of their intervals, as numbers in the same order, and nothing else.
    unsigned sample;
    unsigned* uppers;
    const float* queries;  // code.dim values each
    const float* limits;   // of each query, on keys
    unsigned group;        // queries whose values fit into shared memory: a multiple of 16, or 8
};

// Blocks that a processor's registers shall have room for: as many as leave none in memory.
constexpr unsigned byte_blocks(unsigned steps, int architecture) {
    return steps == 1 || steps == 2 || (steps == 3 && architecture >= 90) ? 5 : 4;
}
#ifdef __CUDA_ARCH__
constexpr int kArchitecture = __CUDA_ARCH__ / 10;
#else
constexpr int kArchitecture = 90;
#endif

// Words of shared memory from one query to the next: an odd multiple of eight, so that the lanes of
// a load meet no bank twice.
constexpr unsigned byte_stride(unsigned steps) { return (steps | 1) * 8; }

// What a query of a tile is compared by.
struct ByteQuery {
    float square;        // kUnknown: no bounds are known
    float error;         // L2: ey; similarities: t
    float product, off;  // similarities: q.c, and by how much that may be off
};
// A pair of vector and query of a group that may be found: row * kByteTile + column, and their sum.
struct FoundPair {
    unsigned at;
    int sum;
};
struct alignas(16) ByteTile {
    float2 limits[kByteTile];  // pair_limit
    PairSums sums[kByteTile];
    float scale[kByteTile];
    unsigned query[kByteTile];
    ByteQuery queries[kByteTile];
    unsigned width;  // the bits of w
    FoundPair found[kByteWarps][kFoundRoom];
};

// Four values of a query from dimension j on, for L2 moved; zero past the end.
template <KeySum kSum>
SIMT_DEVICE float4 moved_values(const float* query, const float* centre, unsigned j, unsigned dim) {
    float q[4] = {}, c[4] = {};
    if (dim % 4 == 0 && j < dim) {
        const float4 four = simt::load16(reinterpret_cast<const float4*>(query + j));
        q[0] = four.x, q[1] = four.y, q[2] = four.z, q[3] = four.w;
        if (kSum == KeySum::L2 && centre != nullptr) {
            const float4 from = simt::load16(reinterpret_cast<const float4*>(centre + j));
            c[0] = from.x, c[1] = from.y, c[2] = from.z, c[3] = from.w;
        }
    } else {
        SIMT_UNROLL
        for (unsigned i = 0; i < 4; ++i) {
            if (j + i >= dim) continue;
            q[i] = query[j + i];
            if (kSum == KeySum::L2 && centre != nullptr) c[i] = centre[j + i];
        }
    }
    if (kSum != KeySum::L2) return make_float4(q[0], q[1], q[2], q[3]);
    return make_float4(q[0] - c[0], q[1] - c[1], q[2] - c[2], q[3] - c[3]);
}

// q.c and |c|^2, of all dimensions, by the lanes of a query.
SIMT_DEVICE void add_centre(const float* query, const float* centre, unsigned dim, PairSums& sums) {
    for (unsigned j = threadIdx.x % kByteLanes; j < dim; j += kByteLanes) {
        sums.product = __fmaf_rn(query[j], centre[j], sums.product);
        sums.centre = __fmaf_rn(centre[j], centre[j], sums.centre);
    }
    sums.product = sum_of_group(sums.product, kByteLanes);
    sums.centre = sum_of_group(sums.centre, kByteLanes);
}

// Rounds four values to a word.
SIMT_DEVICE unsigned round_four(const float4& x, const ByteScale& scale, RoundedSquares& sums) {
    return (round_byte(x.x, scale, sums) & 0xffu) | (round_byte(x.y, scale, sums) & 0xffu) << 8 |
           (round_byte(x.z, scale, sums) & 0xffu) << 16 | round_byte(x.w, scale, sums) << 24;
}

// One query of the tile, by eight lanes, each four of every 32 dimensions. kSteps: of 32
// dimensions, or 0: any number.
template <KeySum kSum, unsigned kSteps>
SIMT_DEVICE void round_query(const ByteScan& job, const float* query, const float* centre,
                             unsigned* to, float& scale_out, PairSums& sums) {
    const auto dim = static_cast<unsigned>(job.stored.code.dim);
    const unsigned steps = kSteps == 0 ? job.stored.tiles.steps : kSteps;
    const unsigned first = threadIdx.x % kByteLanes;
    float4 kept[kSteps == 0 ? 1 : kSteps];
    float most = 0;
    SIMT_UNROLL
    for (unsigned step = 0; step < steps; ++step) {
        const float4 x = moved_values<kSum>(query, centre, step * 32 + first * 4, dim);
        most = max(most, max(max(fabs(x.x), fabs(x.y)), max(fabs(x.z), fabs(x.w))));
        if constexpr (kSteps != 0) kept[step] = x;
    }
    for (unsigned other = kByteLanes / 2; other > 0; other /= 2)
        most = max(most, __shfl_xor_sync(kWarp, most, static_cast<int>(other)));
    const ByteScale scale = byte_scale(most);
    scale_out = scale.scale;
    SIMT_UNROLL
    for (unsigned step = 0; step < steps; ++step) {
        const float4 x = kSteps == 0 ? moved_values<kSum>(query, centre, step * 32 + first * 4, dim)
                                     : kept[kSteps == 0 ? 0 : step];
        to[step * 8 + first] = round_four(x, scale, sums.query);
    }
    sums.query.square = sum_of_group(sums.query.square, kByteLanes);
    sums.query.error = sum_of_group(sums.query.error, kByteLanes);
    if (!(most < kLongest)) sums.query.square = kUnknown;
}

// What the bound wants of a query, and its limit.
template <KeySum kSum>
SIMT_DEVICE void set_query(const BoundConstants& constants, const PairSums& sums, float limit,
                           unsigned number, ByteTile& tile) {
    const RoundedSquares& query = sums.query;
    ByteQuery to{kUnknown, 0, sums.product, 0};
    float2 bound = make_float2(kAlways, 0);
    if (query.square >= 0 && is_short(query.square + query.error) && is_short(sums.centre)) {
        to.square = query.square;
        bound = pair_limit<CodeKind::Float32, kSum>(constants, sums, limit, 0);
        if constexpr (kSum == KeySum::Dot) {
            const float length = length_of(constants, query);
            const float centre = __fsqrt_rn(sums.centre) * (1 + constants.sum);
            to.error = max(length, 0x1p-48f) * kRoundUp;
            to.off = 2 * constants.key * length * centre;
            atomicMax(&tile.width, __float_as_uint(width_of(constants, query)));
        } else {
            to.error = error_of(constants, query, 0);
        }
    }
    tile.queries[number] = to;
    tile.limits[number] = bound;
}

// All queries of a group, rounded; behind its end, up to whole columns, the last one again, which
// nothing passes.
template <KeySum kSum, unsigned kSteps>
SIMT_DEVICE void load_byte_queries(const ByteScan& job, const PairTile& group,
                                   const BoundConstants& constants, unsigned* values,
                                   ByteTile& tile) {
    const size_t dim = job.stored.code.dim;
    const unsigned stride = byte_stride(job.stored.tiles.steps);
    const float* const centre =
        job.stored.centroids == nullptr ? nullptr : job.stored.centroids + group.chunk.cell * dim;
    const unsigned count = group.end - group.begin;
    constexpr unsigned kStep = 8 * kByteColumns;
    const unsigned padded = count <= 8 ? 8 : (count + kStep - 1) / kStep * kStep;  // whole warps
    float limit = 0;
    if (threadIdx.x < padded) {  // all at once, since one waits for the other
        const unsigned at = job.pairs.pairs[group.begin + min(threadIdx.x, count - 1)].query;
        tile.query[threadIdx.x] = at;
        limit = job.sample != 0 ? kAlways : job.limits[at];
    }
    __syncthreads();
    for (unsigned number = threadIdx.x / kByteLanes; number < padded;
         number += kByteThreads / kByteLanes) {
        const float* const query = job.queries + tile.query[number] * dim;
        float scale = 0;
        PairSums sums;
        round_query<kSum, kSteps>(job, query, centre, values + number * stride, scale, sums);
        if (kSum == KeySum::Dot && centre != nullptr)
            add_centre(query, centre, static_cast<unsigned>(dim), sums);
        if (threadIdx.x % kByteLanes != 0) continue;
        tile.scale[number] = scale;
        tile.sums[number] = sums;
    }
    __syncthreads();
    if (threadIdx.x < count)
        set_query<kSum>(constants, tile.sums[threadIdx.x], limit, threadIdx.x, tile);
    else if (threadIdx.x < padded)
        tile.limits[threadIdx.x] = make_float2(kNever, 0);
}

// The least and the greatest key that a vector may have: `product` is p. With one root, and L2's
// (d - E)^2 >= d^2 - 2 d E, of which a negative one says nothing.
template <KeySum kSum>
SIMT_DEVICE float2 key_interval(const BoundConstants& constants, const ByteQuery& query,
                                const ByteTerms& vector, float width, float product) {
    float low = kNever, high = kAlways;
    if constexpr (kSum == KeySum::Dot) {
        const float2 terms = vector_terms<CodeKind::Float32, kSum>(constants, vector.square,
                                                                   vector.error, {0, 0}, 0, width);
        const float key = -product - query.product;
        const float off = (query.off + query.error * terms.y +
                           (fabs(product) + fabs(query.product)) * 0x1p-19f + kLostProducts) *
                          kRoundUp;
        low = key - off;
        high = key + off;
    } else {
        const float squares = vector.square + query.square;
        const float square = __fmaf_rn(-2.0f, product, squares), off = squares * constants.form;
        const float error = (query.error + vector.error) * kRoundUp;
        const float most = max(square + off, 0.0f);
        const float more = 2 * __fsqrt_rn(most) * error * kRoundUp;
        low = max((square - off - more) * (1 - constants.key - 0x1p-18f) - kLostProducts, 0.0f);
        high = (most + more + error * error) * (1 + constants.key) * kRoundUp + kLostProducts;
    }
    const bool known = vector.square >= 0 && query.square >= 0 && low <= high;
    return known ? make_float2(low, high) : make_float2(kNever, kAlways);
}

// The upper end as selections compare it, and the bits of the lower end.
SIMT_DEVICE uint64_t pack_interval(const float2& ends) {
    return pack_key(ends.y, __float_as_uint(ends.x));
}

SIMT_DEVICE ByteTerms terms_at(const ByteScan& job, const Chunk& chunk, unsigned row) {
    const size_t place = size_t{chunk.first_block} * kBlock + row;
    return simt::load16(job.stored.tiles.terms + place);
}

// One pair that passed, to its query's list.
template <KeySum kSum>
SIMT_DEVICE void offer_found(const ByteScan& job, const PairTile& group,
                             const BoundConstants& constants, const ByteTile& tile,
                             const FoundPair& pair) {
    const unsigned row = pair.at / kByteTile, column = pair.at % kByteTile;
    if (column >= group.end - group.begin || row >= group.chunk.vectors) return;
    const bool found = may_be_found(job.stored, group.chunk, row);
    if (!found && job.sample == 0) return;
    const ByteTerms vector = terms_at(job, group.chunk, row);
    const float product = static_cast<float>(pair.sum) * vector.scale * tile.scale[column];
    const float2 ends = key_interval<kSum>(constants, tile.queries[column], vector,
                                           __uint_as_float(tile.width), product);
    const size_t query = tile.query[column];
    const unsigned place = group.chunk.first_block * static_cast<unsigned>(kBlock) + row;
    if (job.sample == 0) return offer_candidate(job.lists, query, place, pack_interval(ends));
    const uint64_t key = pack_interval(found ? ends : make_float2(kNever, kAlways));
    job.uppers[query * job.sample + row] = static_cast<unsigned>(key >> 32);
}

// What a lane compares of its two vectors of a block, g and g + 8.
struct ByteRows {
    float scale[2];  // times what products have before them in `passes`
    float2 terms[2];
};

// Keeps what passes of one product; returns how many the warp has kept then. `at`: of row g and
// column 2t.
template <KeySum kSum>
SIMT_DEVICE unsigned keep_passing(const ByteTile& tile, const ByteRows& rows, const int (&sums)[4],
                                  unsigned at, unsigned kept, FoundPair* found) {
    const unsigned column = at % kByteTile;
    const float2 scale = *reinterpret_cast<const float2*>(&tile.scale[column]);
    const float4 limits = simt::load16(reinterpret_cast<const float4*>(&tile.limits[column]));
    bool passing[4];
    SIMT_UNROLL
    for (unsigned i = 0; i < 4; ++i) {
        const float2& terms = rows.terms[i / 2];
        const float left = __fmaf_rn(static_cast<float>(sums[i]) * rows.scale[i / 2],
                                     i % 2 == 0 ? scale.x : scale.y, terms.x);
        const float right = i % 2 == 0 ? __fmaf_rn(limits.y, terms.y, limits.x)
                                       : __fmaf_rn(limits.w, terms.y, limits.z);
        passing[i] = !(left > right);  // also what became NaN
    }
    if (!__any_sync(kWarp, passing[0] || passing[1] || passing[2] || passing[3])) return kept;
    const unsigned before = (1u << (threadIdx.x % 32)) - 1;
    SIMT_UNROLL
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned lanes = __ballot_sync(kWarp, passing[i]);
        if (passing[i]) {
            found[kept + static_cast<unsigned>(__popc(lanes & before))] = {
                at + i / 2 * 8 * kByteTile + i % 2, sums[i]};
        }
        kept += static_cast<unsigned>(__popc(lanes));
    }
    return kept;
}

template <KeySum kSum>
SIMT_DEVICE ByteRows byte_rows(const ByteScan& job, const PairTile& group,
                               const BoundConstants& constants, const ByteTile& tile,
                               unsigned block) {
    ByteRows rows;
    SIMT_UNROLL
    for (unsigned half = 0; half < 2; ++half) {
        const unsigned row = block * 16 + threadIdx.x % 32 / 4 + 8 * half;
        const ByteTerms vector = terms_at(job, group.chunk, row);
        rows.scale[half] = (kSum == KeySum::Dot ? -1.0f : -2.0f) * vector.scale;
        rows.terms[half] = vector_terms<CodeKind::Float32, kSum>(
            constants, vector.square, vector.error, {0, 0}, 0, __uint_as_float(tile.width));
    }
    return rows;
}

// A warp, all queries of the group, eight times kColumns at a time, and blocks of the chunk from
// `block` on, of which the second may be past its end. Returns how many pairs the warp has kept.
template <KeySum kSum, unsigned kSteps, unsigned kColumns>
SIMT_DEVICE unsigned scan_byte_block(const ByteScan& job, const PairTile& group,
                                     const BoundConstants& constants, const unsigned* values,
                                     ByteTile& tile, unsigned block, unsigned kept) {
    constexpr unsigned kKeptSteps = kSteps == 0 ? 1 : kSteps;
    const unsigned steps = kSteps == 0 ? job.stored.tiles.steps : kSteps;
    const unsigned stride = byte_stride(steps), lane = threadIdx.x % 32;
    const unsigned last = (group.chunk.vectors - 1) / 16;
    const uint4* from[kByteRows];
    uint4 kept_values[kByteRows][kKeptSteps];
    ByteRows rows[kByteRows];
    SIMT_UNROLL
    for (unsigned r = 0; r < kByteRows; ++r) {
        const unsigned at = min(block + r, last);
        from[r] =
            job.stored.tiles.values + (size_t{group.chunk.first_block} + at) * steps * 32 + lane;
        if constexpr (kSteps != 0) {
            SIMT_UNROLL
            for (unsigned step = 0; step < kSteps; ++step)
                kept_values[r][step] = simt::load16(from[r] + step * 32);
        }
        rows[r] = byte_rows<kSum>(job, group, constants, tile, at);
    }
    FoundPair* const found = tile.found[threadIdx.x / 32];
    const unsigned queries = group.end - group.begin;
    SIMT_NO_UNROLL
    for (unsigned first = 0; first < queries; first += 8 * kColumns) {
        const unsigned* const columns = values + (first + lane / 4) * stride + lane % 4 * 2;
        int sums[kByteRows][kColumns][4] = {};
        SIMT_UNROLL
        for (unsigned step = 0; step < steps; ++step) {
            unsigned a[kByteRows][4];
            SIMT_UNROLL
            for (unsigned r = 0; r < kByteRows; ++r) {
                const uint4 four = kSteps == 0 ? simt::load16(from[r] + step * 32)
                                               : kept_values[r][kSteps == 0 ? 0 : step];
                a[r][0] = four.x, a[r][1] = four.y, a[r][2] = four.z, a[r][3] = four.w;
            }
            SIMT_UNROLL
            for (unsigned n = 0; n < kColumns; ++n) {
                const uint2 b =
                    *reinterpret_cast<const uint2*>(columns + 8 * n * stride + step * 8);
                SIMT_UNROLL
                for (unsigned r = 0; r < kByteRows; ++r)
                    simt::mma_m16n8k32_int8(sums[r][n], a[r], {b.x, b.y});
            }
        }
        SIMT_UNROLL
        for (unsigned n = 0; n < kColumns; ++n) {
            const unsigned column = first + 8 * n + lane % 4 * 2;
            SIMT_UNROLL
            for (unsigned r = 0; r < kByteRows; ++r) {
                if (block + r > last) continue;
                const unsigned row = (block + r) * 16 + lane / 4;
                kept = keep_passing<kSum>(tile, rows[r], sums[r][n], row * kByteTile + column, kept,
                                          found);
            }
        }
        __syncwarp();  // what was kept is there
        while (kept >= 32) {
            kept -= 32;
            offer_found<kSum>(job, group, constants, tile, found[kept + lane]);
        }
        __syncwarp();  // and may be replaced
    }
    return kept;
}

template <KeySum kSum, unsigned kSteps, unsigned kColumns>
SIMT_DEVICE void scan_byte_blocks(const ByteScan& job, const PairTile& group,
                                  const BoundConstants& constants, const unsigned* values,
                                  ByteTile& tile) {
    const unsigned blocks = (group.chunk.vectors + 15) / 16, warp = threadIdx.x / 32;
    constexpr unsigned kStep = kByteWarps * kByteRows;
    unsigned kept = 0;
    for (unsigned block = blockIdx.y * kStep + warp * kByteRows; block < blocks;
         block += gridDim.y * kStep) {
        kept = scan_byte_block<kSum, kSteps, kColumns>(job, group, constants, values, tile, block,
                                                       kept);
    }
    if (threadIdx.x % 32 < kept)
        offer_found<kSum>(job, group, constants, tile, tile.found[warp][threadIdx.x % 32]);
}

template <KeySum kSum, unsigned kSteps>
SIMT_DEVICE void scan_byte_group(const ByteScan& job, const PairTile& group) {
    SIMT_DYNAMIC_SHARED(values, unsigned);
    SIMT_SHARED(tile, ByteTile);
    const BoundConstants constants = bound_constants(job.stored.tiles.steps * 32);
    __syncthreads();  // all have done with the last group
    if (threadIdx.x == 0) tile.width = 0;
    load_byte_queries<kSum, kSteps>(job, group, constants, values, tile);
    __syncthreads();
    const unsigned queries = group.end - group.begin;
    if (job.sample != 0 && blockIdx.y == 0 && threadIdx.x < queries)
        job.lists.counts[tile.query[threadIdx.x]] = group.chunk.vectors;
    if (queries <= 8)
        scan_byte_blocks<kSum, kSteps, 1>(job, group, constants, values, tile);
    else
        scan_byte_blocks<kSum, kSteps, kByteColumns>(job, group, constants, values, tile);
}

// Any grid: blocks step through the tiles in x, and in y through the vectors of one. Shared memory
// for the values of job.group queries.
template <KeySum kSum, unsigned kSteps>
__global__ void __launch_bounds__(kByteThreads, byte_blocks(kSteps, kArchitecture))
    scan_byte_tiles(ByteScan job) {
    simt::wait_for_previous();
    const unsigned tiles = *job.pairs.tile_count;
    for (unsigned number = blockIdx.x; number < tiles; number += gridDim.x) {
        PairTile tile = job.pairs.tiles[number];
        if (job.sample != 0) tile.chunk.vectors = min(tile.chunk.vectors, job.sample);
        for (unsigned begin = tile.begin; begin < tile.end; begin += job.group) {
            const unsigned end = min(begin + job.group, tile.end);
            scan_byte_group<kSum, kSteps>(job, {tile.chunk, begin, end});
        }
    }
}

using ByteScanKernel = void (*)(ByteScan);

template <unsigned kSteps>
ByteScanKernel scan_byte_tiles_kernel_of(Metric metric) {
    return is_similarity(metric) ? scan_byte_tiles<KeySum::Dot, kSteps>
                                 : scan_byte_tiles<KeySum::L2, kSteps>;
}

// kByteThreads threads a block. Not for L1.
inline ByteScanKernel scan_byte_tiles_kernel(unsigned steps, Metric metric) {
    switch (steps) {
        case 1: return scan_byte_tiles_kernel_of<1>(metric);
        case 2: return scan_byte_tiles_kernel_of<2>(metric);
        case 3: return scan_byte_tiles_kernel_of<3>(metric);
        case 4: return scan_byte_tiles_kernel_of<4>(metric);
        default: return scan_byte_tiles_kernel_of<0>(metric);
    }
}

}  // namespace nearcell::gpu
