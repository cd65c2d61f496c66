// The pass over the rounded base: one product of rows and queries on tensor cores, of which only
// those rows leave the registers that may be among a query's nearest (exact_bound.cuh).
//
// A block takes 48 queries and some rows; a warp 16 rows (scan_held) or 32 (scan_wide) at a time.
// Rows are the A operand, read from L2 straight to registers, 16 bytes a load: grid.x counts the
// tiles of queries, so that blocks in flight read the same rows. The 8 components that a lane loads
// at once are not those that the operand's layout names, but they are the same ones in row and
// query, and a product does not mind the order of its terms.
//
// scan_held, up to 128 components: the queries are the B operand and stay in registers. A tile of
// 16 rows by 48 queries takes dim * 32 bytes of L2, dim * 1536 flops, and 768 scores in the
// epilogue at two multiply-adds and a comparison each. That is 48 flops a byte: the 763 TFLOP/s
// bf16 that an H100 was measured to give would need 15.9 TB/s from L2, more than it has, so L2
// limits, then the epilogue; HBM is read once for all tiles in flight. scan_wide, any dimension:
// the queries are read, too, from L1, for each 32 components: 10 loads of 16 bytes a lane for 24
// products.
//
// Parity and compute-sanitizer on an H100; whole calls of 10,000 queries and ten million rows of 96
// dimensions reach 222 TFLOP/s there, 22 % of the peak (bench/results/gpu-h100.txt).
#pragma once

#include <nearcell/gpu/kernels/exact_bound.cuh>

namespace nearcell::gpu {

constexpr int kScanThreads = 128, kScanWarps = kScanThreads / 32;
constexpr int kTiles = 6, kTileQueries = kTiles * 8;  // products side by side
constexpr int kSegment = 32;                          // components of one load
constexpr int kMostHeld = 4;                          // segments of queries that registers hold

// Blocks that a processor's registers shall have room for.
constexpr int held_blocks(int segments) { return segments == 1 ? 4 : segments < kMostHeld ? 3 : 2; }

// Each device has the code of one rounding: before sm_80 there are no products of bfloat16, and
// from then on nobody asks for those of half.
template <Rounding kRounding>
constexpr bool runs_here() {
#if !defined(__CUDA_ARCH__)
    return true;
#elif __CUDA_ARCH__ >= 800
    return kRounding == Rounding::Bfloat16;
#else
    return kRounding == Rounding::Half;
#endif
}

struct ScanJob {
    const unsigned short* rows;  // rounded, in the order of places
    const float2* terms;         // of each place
    const unsigned short* queries;
    const float2* limits;    // of each query
    const unsigned* active;  // the queries that take part; null: all
    size_t count;            // how many
    size_t begin, end;       // places
    size_t block_rows;       // places of a block, a multiple of 16
    size_t padded;           // components of a rounded vector, a multiple of kSegment
    float factor;            // of products: -2 for L2, -1
    unsigned* counts;        // of each query: candidates found, also beyond the capacity
    unsigned* candidates;    // places, `capacity` for each query, in any order
    size_t capacity;
};

// The number of the query in column `slot` of the product, or -1.
SIMT_DEVICE long long query_at(const ScanJob& job, size_t slot) {
    if (slot >= job.count) return -1;
    return static_cast<long long>(job.active == nullptr ? slot : job.active[slot]);
}

template <Rounding kRounding>
SIMT_DEVICE void multiply(float (&sums)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3,
                          unsigned b0, unsigned b1) {
    const unsigned a[4] = {a0, a1, a2, a3}, b[2] = {b0, b1};
    if constexpr (kRounding == Rounding::Bfloat16)
        simt::mma_m16n8k16_bfloat16(sums, a, b);
    else
        simt::mma_m16n8k16_half(sums, a, b);
}

// Adds 16 rows by 8 queries by one segment.
template <Rounding kRounding>
SIMT_DEVICE void multiply_segment(float (&sums)[4], const uint4& upper, const uint4& lower,
                                  const uint4& query) {
    multiply<kRounding>(sums, upper.x, lower.x, upper.y, lower.y, query.x, query.y);
    multiply<kRounding>(sums, upper.z, lower.z, upper.w, lower.w, query.z, query.w);
}

// This lane's part of a vector: 16 bytes of each segment.
SIMT_DEVICE const uint4* lane_part(const unsigned short* vectors, size_t vector, size_t padded) {
    return reinterpret_cast<const uint4*>(vectors + vector * padded) + threadIdx.x % 4;
}

// This lane's row of the upper or lower half of 16; beyond the end the last row, which the epilogue
// leaves out.
SIMT_DEVICE size_t clamp_row(size_t row, size_t end) { return row < end ? row : end - 1; }

SIMT_DEVICE float2 limit_of_column(const ScanJob& job, size_t slot) {
    const long long query = query_at(job, slot);
    return query < 0 ? make_float2(-__uint_as_float(0x7f800000u), 0) : job.limits[query];
}

// Once a query has more than fit, its count need not be right, only too large.
SIMT_DEVICE void add_candidate(const ScanJob& job, size_t slot, size_t row) {
    const auto query = static_cast<size_t>(query_at(job, slot));
    if (simt::load_relaxed(job.counts + query) > job.capacity) return;
    const unsigned at = atomicAdd(job.counts + query, 1u);
    if (at < job.capacity) job.candidates[query * job.capacity + at] = static_cast<unsigned>(row);
}

// What of 16 rows by 48 queries passes, as a set of bits: lane holds two rows by two columns of
// each product, in the order of its sums.
SIMT_DEVICE unsigned passing_scores(const ScanJob& job, const float (&sums)[kTiles][4],
                                    const float2 (&limits)[kTiles][2], size_t row, size_t end) {
    unsigned passing = 0;
    SIMT_UNROLL
    for (int half = 0; half < 2; ++half) {
        const float2 terms = job.terms[clamp_row(row + 8 * static_cast<size_t>(half), end)];
        SIMT_UNROLL
        for (int n = 0; n < kTiles; ++n) {
            SIMT_UNROLL
            for (int c = 0; c < 2; ++c) {
                const float left = __fmaf_rn(job.factor, sums[n][2 * half + c], terms.x);
                const float right = __fmaf_rn(limits[n][c].y, terms.y, limits[n][c].x);
                if (left <= right) passing |= 1u << (4 * n + 2 * half + c);
            }
        }
    }
    return passing;
}

// The epilogue. Nearly always nothing passes, and there is one branch to find that out.
SIMT_DEVICE void offer(const ScanJob& job, const float (&sums)[kTiles][4],
                       const float2 (&limits)[kTiles][2], size_t first_slot, size_t first_row,
                       size_t end) {
    const unsigned lane = threadIdx.x % 32;
    const size_t upper = first_row + lane / 4;
    unsigned passing = passing_scores(job, sums, limits, upper, end);
    while (passing != 0) {
        const auto bit = static_cast<unsigned>(__ffs(static_cast<int>(passing)) - 1);
        passing &= passing - 1;
        const size_t row = upper + (bit % 4 / 2) * 8;
        const size_t slot = first_slot + bit / 4 * 8 + 2 * (lane % 4) + bit % 2;
        if (row < end) add_candidate(job, slot, row);
    }
}

SIMT_DEVICE void load_limits(const ScanJob& job, size_t first_slot, float2 (&limits)[kTiles][2]) {
    SIMT_UNROLL
    for (int n = 0; n < kTiles; ++n) {
        SIMT_UNROLL
        for (int c = 0; c < 2; ++c) {
            const size_t column = static_cast<size_t>(8 * n + c) + 2 * (threadIdx.x % 4);
            limits[n][c] = limit_of_column(job, first_slot + column);
        }
    }
}

// The query that this lane loads for product n; for columns without one, the first.
SIMT_DEVICE const uint4* query_part(const ScanJob& job, size_t first_slot, int n) {
    const size_t slot = first_slot + static_cast<size_t>(8 * n) + threadIdx.x % 32 / 4;
    const long long query = query_at(job, slot < job.count ? slot : first_slot);
    return lane_part(job.queries, static_cast<size_t>(query), job.padded);
}

template <Rounding kRounding, int kSegments>
SIMT_DEVICE void scan_by_held(const ScanJob& job) {
    const size_t first_slot = size_t{blockIdx.x} * kTileQueries;
    const size_t begin = job.begin + blockIdx.y * job.block_rows;
    const size_t end = min(begin + job.block_rows, job.end);
    uint4 queries[kTiles][kSegments];
    SIMT_UNROLL
    for (int n = 0; n < kTiles; ++n) {
        const uint4* const part = query_part(job, first_slot, n);
        SIMT_UNROLL
        for (int s = 0; s < kSegments; ++s)
            queries[n][s] = simt::load16(part + 4 * s);
    }
    float2 limits[kTiles][2];
    load_limits(job, first_slot, limits);
    const size_t group = threadIdx.x % 32 / 4;
    for (size_t row = begin + threadIdx.x / 32 * 16; row < end; row += kScanWarps * 16) {
        const uint4* const upper = lane_part(job.rows, clamp_row(row + group, end), job.padded);
        const uint4* const lower = lane_part(job.rows, clamp_row(row + group + 8, end), job.padded);
        uint4 uppers[kSegments], lowers[kSegments];
        SIMT_UNROLL
        for (int s = 0; s < kSegments; ++s) {
            uppers[s] = simt::load16(upper + 4 * s);
            lowers[s] = simt::load16(lower + 4 * s);
        }
        float sums[kTiles][4] = {};
        SIMT_UNROLL
        for (int s = 0; s < kSegments; ++s) {
            SIMT_UNROLL
            for (int n = 0; n < kTiles; ++n)
                multiply_segment<kRounding>(sums[n], uppers[s], lowers[s], queries[n][s]);
        }
        offer(job, sums, limits, first_slot, row, end);
    }
}

template <Rounding kRounding>
SIMT_DEVICE void scan_by_segments(const ScanJob& job) {
    const size_t first_slot = size_t{blockIdx.x} * kTileQueries;
    const size_t begin = job.begin + blockIdx.y * job.block_rows;
    const size_t end = min(begin + job.block_rows, job.end);
    const uint4* parts[kTiles];
    SIMT_UNROLL
    for (int n = 0; n < kTiles; ++n)
        parts[n] = query_part(job, first_slot, n);
    const size_t group = threadIdx.x % 32 / 4, segments = job.padded / kSegment;
    for (size_t row = begin + threadIdx.x / 32 * 32; row < end; row += kScanWarps * 32) {
        const uint4* rows[4];
        SIMT_UNROLL
        for (int r = 0; r < 4; ++r) {
            const size_t of = clamp_row(row + group + 8 * static_cast<size_t>(r), end);
            rows[r] = lane_part(job.rows, of, job.padded);
        }
        float sums[2][kTiles][4] = {};
        for (size_t s = 0; s < segments; ++s) {
            uint4 loaded[4];
            SIMT_UNROLL
            for (int r = 0; r < 4; ++r)
                loaded[r] = simt::load16(rows[r] + 4 * s);
            SIMT_UNROLL
            for (int n = 0; n < kTiles; ++n) {
                const uint4 query = simt::load16(parts[n] + 4 * s);
                multiply_segment<kRounding>(sums[0][n], loaded[0], loaded[1], query);
                multiply_segment<kRounding>(sums[1][n], loaded[2], loaded[3], query);
            }
        }
        float2 limits[kTiles][2];
        load_limits(job, first_slot, limits);
        offer(job, sums[0], limits, first_slot, row, end);
        offer(job, sums[1], limits, first_slot, row + 16, end);
    }
}

template <Rounding kRounding, int kSegments>
__global__ void __launch_bounds__(kScanThreads, held_blocks(kSegments)) scan_held(ScanJob job) {
    if constexpr (runs_here<kRounding>())
        scan_by_held<kRounding, kSegments>(job);
    else
        __trap();
}

template <Rounding kRounding>
__global__ void __launch_bounds__(kScanThreads, 2) scan_wide(ScanJob job) {
    if constexpr (runs_here<kRounding>())
        scan_by_segments<kRounding>(job);
    else
        __trap();
}

}  // namespace nearcell::gpu
