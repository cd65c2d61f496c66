// The scan of byte tiles on integer tensor cores, for L2 and similarities: of every vector that can
// have a key within its query's limit, the place and an interval that the key lies in. No guess:
// the bounds are those of product_bound.cuh, with values rounded to int8 for values rounded to
// bfloat16 and p = scale * scale * (an exact integer). narrow_lists.cuh goes on with intervals, and
// what is left is scored by the codes.
//
// A block takes a tile of up to 128 queries and one chunk: a warp 32 vectors at a time, whose
// values (the A operand) it reads as they lie, 16 bytes a lane, from HBM for the first tile of a
// chunk and from L2 for others; of more than 128 dimensions for every 32 queries again, some ahead.
// Where a store has no values, it makes them of the codes (kMade; byte_codes.cuh).
// Queries (the B operand, byte_queries.cuh) lie in shared memory, as many at a time as fit.
//
// Of 32 vectors, 16 queries and 32 dimensions: 4 products and 2 loads of 8 bytes a lane of shared
// memory; then of each pair of vector and query 5 instructions: to float, times scale, and the
// comparison's three. Reading: dim + 16 bytes a vector and tile of chunk. What passes goes through
// shared memory, so that all lanes of a warp work on it.
//
// On an H100 the scans of 10,000 queries of 96 dimensions, 128 of 16,384 cells each, ten million
// vectors, take 1.6 ms (bench/results/gpu-h100.txt, kernels): instructions are issued in 51 % of
// the slots, HBM is at 30 %: neither limits, but 20 warps a processor do not hide all waiting. The
// last of 100 queries and 32 cells each reads 214 MB in 98 us, 66 % of HBM's peak. Asking L2 for a
// chunk ahead makes both slower (bench/results/gpu-h100-tried.txt).
#pragma once

#include <nearcell/gpu/kernels/byte_codes.cuh>

namespace nearcell::gpu {

// The kernel's kSteps: up to so many steps are kept in registers; 0: any number of steps.
constexpr unsigned kept_steps(size_t steps) {
    return steps <= 4 ? static_cast<unsigned>(steps) : 0;
}
// Sums that a lane has in registers: of blocks of sixteen vectors by columns of eight queries.
constexpr unsigned kByteRows = 2;
constexpr unsigned byte_columns(unsigned steps) { return steps == 0 ? 4 : 2; }
// What passes is kept by each warp, until there is enough for all its lanes: it is looked at after
// so many columns.
constexpr unsigned kept_columns(unsigned steps) { return steps == 0 ? 1 : 2; }
constexpr unsigned found_room(unsigned steps) {
    return 32 + kByteRows * 16 * kept_columns(steps) * 8;
}
constexpr unsigned kStepsAhead = 2;

// Blocks that a processor's registers shall have room for: as many as leave none in memory.
constexpr unsigned byte_blocks(unsigned steps, bool made, int architecture) {
    if (made) return 4;
    if (steps == 0) return architecture >= 120 ? 2 : 3;
    return steps <= 2 || (steps == 3 && architecture >= 90) ? 5 : 4;
}
#ifdef __CUDA_ARCH__
constexpr int kArchitecture = __CUDA_ARCH__ / 10;
#else
constexpr int kArchitecture = 90;
#endif

// A pair of vector and query of a group that may be found: row * kByteTile + column, and their sum.
struct FoundPair {
    unsigned at;
    int sum;
};
template <unsigned kSteps>
struct alignas(16) FoundPairs {
    FoundPair of_warp[kByteWarps][found_room(kSteps)];
};

// Shared memory beside that of queries.
constexpr size_t byte_scan_bytes(unsigned steps, bool made) {
    return sizeof(ByteTile) + kByteWarps * found_room(steps) * sizeof(FoundPair) +
           (made ? sizeof(ByteCodes) : 0);
}

// What the warps of a block look at: queries in shared memory, and vectors of a chunk.
struct ByteGroup {
    const ByteScan& job;
    const PairTile& pairs;
    const BoundConstants& constants;
    const unsigned* values;  // of the queries
    const ByteTile& tile;
    const ByteCodes* codes;  // by which values are made, where they are
    FoundPair* found;        // found_room of this warp
    unsigned queries;
};

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
SIMT_DEVICE void offer_found(const ByteGroup& in, const FoundPair& pair) {
    const ByteScan& job = in.job;
    const Chunk& chunk = in.pairs.chunk;
    const unsigned row = pair.at / kByteTile, column = pair.at % kByteTile;
    if (column >= in.queries || row >= chunk.vectors) return;
    const bool found = may_be_found(job.stored, chunk, row);
    if (!found && job.sample == 0) return;
    const ByteTerms vector = terms_at(job, chunk, row);
    const float product = static_cast<float>(pair.sum) * vector.scale * in.tile.scale[column];
    const float2 ends = key_interval<kSum>(in.constants, in.tile.queries[column], vector,
                                           __uint_as_float(in.tile.width), product);
    const size_t query = in.tile.query[column];
    const unsigned place = chunk.first_block * static_cast<unsigned>(kBlock) + row;
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
SIMT_DEVICE ByteRows byte_rows(const ByteGroup& in, unsigned block) {
    ByteRows rows;
    SIMT_UNROLL
    for (unsigned half = 0; half < 2; ++half) {
        const unsigned row = block * 16 + threadIdx.x % 32 / 4 + 8 * half;
        const ByteTerms vector = terms_at(in.job, in.pairs.chunk, row);
        rows.scale[half] = (kSum == KeySum::Dot ? -1.0f : -2.0f) * vector.scale;
        rows.terms[half] = vector_terms<CodeKind::Float32, kSum>(
            in.constants, vector.square, vector.error, {0, 0}, 0, __uint_as_float(in.tile.width));
    }
    return rows;
}

// A warp's vectors: blocks of the chunk from `block` on, of which the second may be past its end.
template <unsigned kSteps>
struct ByteVectors {
    unsigned block, last;
    const uint4* from[kByteRows];                       // this lane's values
    uint4 values[kSteps == 0 ? 1 : kSteps][kByteRows];  // all of them, of few steps
    ByteRows rows[kByteRows];
};

// Values as they lie.
template <unsigned kSteps>
SIMT_DEVICE void read_values(const ByteGroup& in, ByteVectors<kSteps>& vectors) {
    const unsigned steps = kSteps == 0 ? in.job.stored.tiles.steps : kSteps;
    SIMT_UNROLL
    for (unsigned r = 0; r < kByteRows; ++r) {
        const unsigned at = min(vectors.block + r, vectors.last);
        vectors.from[r] = in.job.stored.tiles.values +
                          (size_t{in.pairs.chunk.first_block} + at) * steps * 32 + threadIdx.x % 32;
        if constexpr (kSteps != 0) {
            SIMT_UNROLL
            for (unsigned step = 0; step < kSteps; ++step)
                vectors.values[step][r] = simt::load16(vectors.from[r] + step * 32);
        }
    }
}

// Values made of the codes, by way of the room for what passes, behind what the warp has kept.
template <unsigned kSteps>
SIMT_DEVICE void make_vectors(const ByteGroup& in, ByteVectors<kSteps>& vectors) {
    static_assert(32 + kSteps * kByteRows * 32 * sizeof(uint4) / sizeof(FoundPair) <=
                  found_room(kSteps));
    const StoredCodes& stored = in.job.stored;
    const unsigned lane = threadIdx.x % 32;
    CodeRows<kByteRows> rows;
    SIMT_UNROLL
    for (unsigned r = 0; r < kByteRows; ++r) {
        SIMT_UNROLL
        for (unsigned half = 0; half < 2; ++half) {
            const unsigned row = min(vectors.block + r, vectors.last) * 16 + lane / 4 + 8 * half;
            const size_t place = size_t{in.pairs.chunk.first_block} * kBlock + row;
            rows.words[r][half] = stored.blocks + place * stored.code.words;
            rows.inverse[r][half] = terms_at(in.job, in.pairs.chunk, row).inverse;
        }
    }
    uint4* const values = reinterpret_cast<uint4*>(in.found + 32) + lane;
    make_values(stored, *in.codes, rows, values);
    SIMT_UNROLL
    for (unsigned step = 0; step < kSteps; ++step) {
        SIMT_UNROLL
        for (unsigned r = 0; r < kByteRows; ++r)
            vectors.values[step][r] = simt::load16(values + (step * kByteRows + r) * 32);
    }
    __syncwarp();  // all lanes have theirs, and what passes may replace them
}

template <KeySum kSum, unsigned kSteps, bool kMade>
SIMT_DEVICE ByteVectors<kSteps> byte_vectors(const ByteGroup& in, unsigned block) {
    ByteVectors<kSteps> vectors;
    vectors.block = block;
    vectors.last = (in.pairs.chunk.vectors - 1) / 16;
    if constexpr (kMade)
        make_vectors<kSteps>(in, vectors);
    else
        read_values<kSteps>(in, vectors);
    SIMT_UNROLL
    for (unsigned r = 0; r < kByteRows; ++r)
        vectors.rows[r] = byte_rows<kSum>(in, min(block + r, vectors.last));
    return vectors;
}

template <unsigned kColumns>
using ByteSums = int[kByteRows][kColumns][4];

// The products of 32 dimensions.
template <unsigned kColumns>
SIMT_DEVICE void multiply_step(const uint4 (&vectors)[kByteRows], const unsigned* queries,
                               unsigned stride, ByteSums<kColumns>& sums) {
    SIMT_UNROLL
    for (unsigned n = 0; n < kColumns; ++n) {
        const uint2 b = *reinterpret_cast<const uint2*>(queries + 8 * n * stride);
        SIMT_UNROLL
        for (unsigned r = 0; r < kByteRows; ++r) {
            const uint4& a = vectors[r];
            simt::mma_m16n8k32_int8(sums[r][n], {a.x, a.y, a.z, a.w}, {b.x, b.y});
        }
    }
}

// Of any number of steps: while some are multiplied, the next are read.
template <unsigned kColumns>
SIMT_DEVICE void multiply_long(const uint4* const (&from)[kByteRows], unsigned steps,
                               const unsigned* queries, ByteSums<kColumns>& sums) {
    const unsigned stride = byte_stride(steps);
    uint4 now[kStepsAhead][kByteRows], next[kStepsAhead][kByteRows];
    const auto read = [&](uint4(&to)[kByteRows], unsigned step) {
        SIMT_UNROLL
        for (unsigned r = 0; r < kByteRows; ++r)
            to[r] = simt::load16(from[r] + min(step, steps - 1) * 32);
    };
    SIMT_UNROLL
    for (unsigned i = 0; i < kStepsAhead; ++i)
        read(next[i], i);
    SIMT_NO_UNROLL
    for (unsigned begin = 0; begin < steps; begin += kStepsAhead) {
        SIMT_UNROLL
        for (unsigned i = 0; i < kStepsAhead; ++i) {
            SIMT_UNROLL
            for (unsigned r = 0; r < kByteRows; ++r)
                now[i][r] = next[i][r];
            read(next[i], begin + kStepsAhead + i);
        }
        SIMT_UNROLL
        for (unsigned i = 0; i < kStepsAhead; ++i) {
            if (i == 0 || begin + i < steps)
                multiply_step<kColumns>(now[i], queries + (begin + i) * 8, stride, sums);
        }
    }
}

// A warp's vectors and eight times kColumns queries, from `first` on. Returns how many pairs the
// warp has kept.
template <KeySum kSum, unsigned kSteps, unsigned kColumns>
SIMT_DEVICE unsigned scan_byte_columns(const ByteGroup& in, const ByteVectors<kSteps>& vectors,
                                       unsigned first, unsigned kept) {
    const unsigned steps = kSteps == 0 ? in.job.stored.tiles.steps : kSteps;
    const unsigned stride = byte_stride(steps), lane = threadIdx.x % 32;
    const unsigned* const queries = in.values + (first + lane / 4) * stride + lane % 4 * 2;
    ByteSums<kColumns> sums = {};
    if constexpr (kSteps == 0) {
        multiply_long<kColumns>(vectors.from, steps, queries, sums);
    } else {
        SIMT_UNROLL
        for (unsigned step = 0; step < kSteps; ++step)
            multiply_step<kColumns>(vectors.values[step], queries + step * 8, stride, sums);
    }
    SIMT_UNROLL
    for (unsigned n = 0; n < kColumns; ++n) {
        const unsigned column = first + 8 * n + lane % 4 * 2;
        SIMT_UNROLL
        for (unsigned r = 0; r < kByteRows; ++r) {
            if (vectors.block + r > vectors.last) continue;
            const unsigned row = (vectors.block + r) * 16 + lane / 4;
            kept = keep_passing<kSum>(in.tile, vectors.rows[r], sums[r][n],
                                      row * kByteTile + column, kept, in.found);
        }
        if ((n + 1) % min(kColumns, kept_columns(kSteps)) != 0) continue;
        __syncwarp();  // what was kept is there
        while (kept >= 32) {
            kept -= 32;
            offer_found<kSum>(in, in.found[kept + lane]);
        }
        __syncwarp();  // and may be replaced
    }
    return kept;
}

// All of the chunk's vectors that are this warp's, eight times kColumns queries at a time.
template <KeySum kSum, unsigned kSteps, bool kMade, unsigned kColumns>
SIMT_DEVICE void scan_byte_blocks(const ByteGroup& in) {
    const unsigned blocks = (in.pairs.chunk.vectors + 15) / 16, warp = threadIdx.x / 32;
    constexpr unsigned kStep = kByteWarps * kByteRows;
    unsigned kept = 0;
    for (unsigned block = blockIdx.y * kStep + warp * kByteRows; block < blocks;
         block += gridDim.y * kStep) {
        const auto vectors = byte_vectors<kSum, kSteps, kMade>(in, block);
        SIMT_NO_UNROLL
        for (unsigned first = 0; first < in.queries; first += 8 * kColumns) {
            if (8 * kColumns > kByteStep && in.queries - first <= kByteStep)
                kept = scan_byte_columns<kSum, kSteps, kByteStep / 8>(in, vectors, first, kept);
            else
                kept = scan_byte_columns<kSum, kSteps, kColumns>(in, vectors, first, kept);
        }
    }
    if (threadIdx.x % 32 < kept) offer_found<kSum>(in, in.found[threadIdx.x % 32]);
}

// Into shared memory, if values are made.
template <bool kMade>
SIMT_DEVICE const ByteCodes* codes_of_chunk(const StoredCodes& stored, const Chunk& chunk) {
    if constexpr (kMade) {
        SIMT_SHARED(codes, ByteCodes);
        load_byte_codes(stored, chunk, codes);
        return &codes;
    }
    return nullptr;
}

template <KeySum kSum, unsigned kSteps, bool kMade>
SIMT_DEVICE void scan_byte_group(const ByteScan& job, const PairTile& group) {
    SIMT_DYNAMIC_SHARED(values, unsigned);
    SIMT_SHARED(tile, ByteTile);
    SIMT_SHARED(found, FoundPairs<kSteps>);
    const unsigned steps = kSteps == 0 ? job.stored.tiles.steps : kSteps;
    const BoundConstants constants = bound_constants(steps * 32);
    __syncthreads();  // all have done with the last group
    if (threadIdx.x == 0) tile.width = 0;
    const ByteCodes* const codes = codes_of_chunk<kMade>(job.stored, group.chunk);
    load_byte_queries<kSum, kSteps>(job, group, constants, values, tile);
    __syncthreads();
    FoundPair* const room = found.of_warp[threadIdx.x / 32];
    const ByteGroup in{job, group, constants, values, tile, codes, room, group.end - group.begin};
    if (job.sample != 0 && blockIdx.y == 0 && threadIdx.x < in.queries)
        job.lists.counts[tile.query[threadIdx.x]] = group.chunk.vectors;
    if (in.queries <= 8)
        scan_byte_blocks<kSum, kSteps, kMade, 1>(in);
    else
        scan_byte_blocks<kSum, kSteps, kMade, byte_columns(kSteps)>(in);
}

// Any grid: blocks step through the tiles in x, and in y through the vectors of one. Shared memory
// for the values of job.group queries.
template <KeySum kSum, unsigned kSteps, bool kMade>
__global__ void __launch_bounds__(kByteThreads, byte_blocks(kSteps, kMade, kArchitecture))
    scan_byte_tiles(ByteScan job) {
    simt::wait_for_previous();
    const unsigned tiles = *job.pairs.tile_count;
    for (unsigned number = blockIdx.x; number < tiles; number += gridDim.x) {
        PairTile tile = job.pairs.tiles[number];
        if (job.sample != 0) tile.chunk.vectors = min(tile.chunk.vectors, job.sample);
        for (unsigned begin = tile.begin; begin < tile.end; begin += job.group) {
            const unsigned end = min(begin + job.group, tile.end);
            scan_byte_group<kSum, kSteps, kMade>(job, {tile.chunk, begin, end});
        }
    }
}

using ByteScanKernel = void (*)(ByteScan);

template <unsigned kSteps, bool kMade>
ByteScanKernel scan_byte_tiles_of(Metric metric) {
    return is_similarity(metric) ? scan_byte_tiles<KeySum::Dot, kSteps, kMade>
                                 : scan_byte_tiles<KeySum::L2, kSteps, kMade>;
}
template <bool kMade>
ByteScanKernel scan_byte_tiles_of_steps(unsigned steps, Metric metric) {
    switch (kept_steps(steps)) {
        case 1: return scan_byte_tiles_of<1, kMade>(metric);
        case 2: return scan_byte_tiles_of<2, kMade>(metric);
        case 3: return scan_byte_tiles_of<3, kMade>(metric);
        case 4: return scan_byte_tiles_of<4, kMade>(metric);
        default: return kMade ? nullptr : scan_byte_tiles_of<0, false>(metric);
    }
}

// kByteThreads threads a block. `made`: of tiles without values; null of more than kMadeSteps. Not
// for L1.
inline ByteScanKernel scan_byte_tiles_kernel(unsigned steps, bool made, Metric metric) {
    return made ? scan_byte_tiles_of_steps<true>(steps, metric)
                : scan_byte_tiles_of_steps<false>(steps, metric);
}

}  // namespace nearcell::gpu
