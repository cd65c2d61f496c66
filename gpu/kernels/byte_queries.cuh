// The queries of a scan of byte tiles (scan_byte_tiles.cuh): moved by the chunk's centroid, rounded
// into shared memory as the B operand, with what the bounds want to know of each. A query and a
// chunk at a time: some 8 instructions a value, and reading 4 bytes a value, from L2 or HBM, and as
// many of the centroid, from L1. Some lanes take a query together and read all that they have
// registers for before they wait.
#pragma once

#include <nearcell/gpu/kernels/byte_tiles.cuh>
#include <nearcell/gpu/kernels/four_values.cuh>

namespace nearcell::gpu {

constexpr unsigned kByteThreads = 128, kByteWarps = kByteThreads / 32;
constexpr unsigned kByteTile = 128;  // queries
constexpr unsigned kByteStep = 16;   // queries that products are of, where there are more than 8
constexpr unsigned kByteLanes = 8;   // that round a query of up to 4 steps together
// Of longer ones: times four values that a lane keeps.
constexpr unsigned kKeptFours = 12;

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

// Words of shared memory from one query to the next: an odd multiple of eight, so that the lanes of
// a load meet no bank twice.
constexpr unsigned byte_stride(unsigned steps) { return (steps | 1) * 8; }

// What a query of a tile is compared by.
struct ByteQuery {
    float square;        // kUnknown: no bounds are known
    float error;         // L2: ey; similarities: t
    float product, off;  // similarities: q.c, and by how much that may be off
};
struct alignas(16) ByteTile {
    float2 limits[kByteTile];  // pair_limit
    PairSums sums[kByteTile];
    float scale[kByteTile];
    unsigned query[kByteTile];
    ByteQuery queries[kByteTile];
    unsigned width;  // the bits of w
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

SIMT_DEVICE float most_of_four(const float4& x) {
    return max(max(fabs(x.x), fabs(x.y)), max(fabs(x.z), fabs(x.w)));
}
SIMT_DEVICE float most_of_lanes(float most, unsigned lanes) {
    for (unsigned other = lanes / 2; other > 0; other /= 2)
        most = max(most, __shfl_xor_sync(kWarp, most, static_cast<int>(other)));
    return most;
}

// What the lanes of a query have of it; `most`: its greatest value.
SIMT_DEVICE void add_up_query(float most, unsigned lanes, PairSums& sums) {
    sums.query.square = sum_of_group(sums.query.square, static_cast<int>(lanes));
    sums.query.error = sum_of_group(sums.query.error, static_cast<int>(lanes));
    if (!(most < kLongest)) sums.query.square = kUnknown;
}

// One query of the tile, by eight lanes, each four of every 32 dimensions.
template <KeySum kSum, unsigned kSteps>
SIMT_DEVICE void round_query(const ByteScan& job, const float* query, const float* centre,
                             unsigned* to, float& scale_out, PairSums& sums) {
    const auto dim = static_cast<unsigned>(job.stored.code.dim);
    const unsigned first = threadIdx.x % kByteLanes;
    float4 kept[kSteps];
    float most = 0;
    SIMT_UNROLL
    for (unsigned step = 0; step < kSteps; ++step) {
        kept[step] = moved_values<kSum>(query, centre, step * 32 + first * 4, dim);
        most = max(most, most_of_four(kept[step]));
    }
    most = most_of_lanes(most, kByteLanes);
    const ByteScale scale = byte_scale(most);
    scale_out = scale.scale;
    SIMT_UNROLL
    for (unsigned step = 0; step < kSteps; ++step)
        to[step * 8 + first] = round_four(kept[step], scale, sums.query);
    add_up_query(most, kByteLanes, sums);
    if (kSum == KeySum::Dot && centre != nullptr) add_centre(query, centre, dim, sums);
}

// Lanes for a query of so many steps: few, but as many as keep all of it, up to a warp.
SIMT_DEVICE unsigned lanes_of_query(unsigned steps) {
    return steps <= kKeptFours ? 8 : steps <= 2 * kKeptFours ? 16 : 32;
}

// Four values x, moved by c for L2; of similarities the sums with c.
template <KeySum kSum>
SIMT_DEVICE float4 move_four(const float4& x, const float4& c, PairSums& sums) {
    if constexpr (kSum == KeySum::L2)
        return make_float4(x.x - c.x, x.y - c.y, x.z - c.z, x.w - c.w);
    const float of_x[] = {x.x, x.y, x.z, x.w}, of_c[] = {c.x, c.y, c.z, c.w};
    SIMT_UNROLL
    for (unsigned i = 0; i < 4; ++i) {
        sums.product = __fmaf_rn(of_x[i], of_c[i], sums.product);
        sums.centre = __fmaf_rn(of_c[i], of_c[i], sums.centre);
    }
    return x;
}

// Of any number of dimensions, by lanes_of_query, four of every so many times four: kKeptFours
// times they are kept, if rows begin at multiples of 16 bytes; others are read twice.
template <KeySum kSum>
SIMT_DEVICE void round_long_query(const ByteScan& job, const float* query, const float* centre,
                                  unsigned* to, float& scale_out, PairSums& sums) {
    constexpr unsigned kAtOnce = 4;
    const auto dim = static_cast<unsigned>(job.stored.code.dim);
    const unsigned fours = job.stored.tiles.steps * 8;
    const unsigned lanes = lanes_of_query(job.stored.tiles.steps), lane = threadIdx.x % lanes;
    const unsigned kept_end = dim % 4 == 0 ? min(fours, kKeptFours * lanes) : 0;
    const float4 zeros = make_float4(0, 0, 0, 0);
    const auto read = [&](const float* row, unsigned n) {
        const unsigned i = n * lanes + lane;
        const bool there = row != nullptr && n * lanes < kept_end && i * 4 < dim;
        return there ? simt::load16(reinterpret_cast<const float4*>(row) + i) : zeros;
    };
    float4 kept[kKeptFours];
    SIMT_UNROLL
    for (unsigned n = 0; n < kKeptFours; ++n)
        kept[n] = read(query, n);
    float most = 0;
    SIMT_UNROLL
    for (unsigned first = 0; first < kKeptFours; first += kAtOnce) {
        float4 of_centre[kAtOnce];
        SIMT_UNROLL
        for (unsigned n = 0; n < kAtOnce; ++n)
            of_centre[n] = read(centre, first + n);
        if (first * lanes >= kept_end) continue;
        SIMT_UNROLL
        for (unsigned n = 0; n < kAtOnce; ++n) {
            kept[first + n] = move_four<kSum>(kept[first + n], of_centre[n], sums);
            most = max(most, most_of_four(kept[first + n]));
        }
    }
    const auto read_again = [&](unsigned i, PairSums& to_sums) {
        const float4 of_centre = centre == nullptr ? zeros : four_values(centre, i * 4, dim);
        return move_four<kSum>(four_values(query, i * 4, dim), of_centre, to_sums);
    };
    SIMT_NO_UNROLL
    for (unsigned i = kept_end + lane; i < fours; i += lanes)
        most = max(most, most_of_four(read_again(i, sums)));
    most = most_of_lanes(most, lanes);
    const ByteScale scale = byte_scale(most);
    scale_out = scale.scale;
    SIMT_UNROLL
    for (unsigned n = 0; n < kKeptFours; ++n) {
        const unsigned i = n * lanes + lane;
        if (i < kept_end) to[i] = round_four(kept[n], scale, sums.query);
    }
    PairSums unused;
    SIMT_NO_UNROLL
    for (unsigned i = kept_end + lane; i < fours; i += lanes)
        to[i] = round_four(read_again(i, unused), scale, sums.query);
    add_up_query(most, lanes, sums);
    if (kSum == KeySum::L2 || centre == nullptr) return;
    sums.product = sum_of_group(sums.product, static_cast<int>(lanes));
    sums.centre = sum_of_group(sums.centre, static_cast<int>(lanes));
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

// Queries of a group that are rounded and scanned: whole columns, and whole warps of lanes.
SIMT_DEVICE unsigned padded_queries(unsigned count) {
    return count <= 8 ? 8 : (count + kByteStep - 1) / kByteStep * kByteStep;
}

// All queries of a group, rounded; behind its end the last one again, which nothing passes.
// kSteps: of 32 dimensions, or 0: any number.
template <KeySum kSum, unsigned kSteps>
SIMT_DEVICE void load_byte_queries(const ByteScan& job, const PairTile& group,
                                   const BoundConstants& constants, unsigned* values,
                                   ByteTile& tile) {
    const size_t dim = job.stored.code.dim;
    const unsigned stride = byte_stride(job.stored.tiles.steps);
    const float* const centre =
        job.stored.centroids == nullptr ? nullptr : job.stored.centroids + group.chunk.cell * dim;
    const unsigned count = group.end - group.begin;
    const unsigned padded = padded_queries(count);
    float limit = 0;
    if (threadIdx.x < padded) {  // all at once, since one waits for the other
        const unsigned at = job.pairs.pairs[group.begin + min(threadIdx.x, count - 1)].query;
        tile.query[threadIdx.x] = at;
        limit = job.sample != 0 ? kAlways : job.limits[at];
    }
    __syncthreads();
    const unsigned lanes = kSteps == 0 ? lanes_of_query(job.stored.tiles.steps) : kByteLanes;
    for (unsigned number = threadIdx.x / lanes; number < padded; number += kByteThreads / lanes) {
        const float* const query = job.queries + tile.query[number] * dim;
        float scale = 0;
        PairSums sums;
        if constexpr (kSteps == 0)
            round_long_query<kSum>(job, query, centre, values + number * stride, scale, sums);
        else
            round_query<kSum, kSteps>(job, query, centre, values + number * stride, scale, sums);
        if (threadIdx.x % lanes != 0) continue;
        tile.scale[number] = scale;
        tile.sums[number] = sums;
    }
    __syncthreads();
    if (threadIdx.x < count)
        set_query<kSum>(constants, tile.sums[threadIdx.x], limit, threadIdx.x, tile);
    else if (threadIdx.x < padded)
        tile.limits[threadIdx.x] = make_float2(kNever, 0);
}

}  // namespace nearcell::gpu
