// The pass over the rounded base: one product of rows and queries on tensor cores, of which only
// those rows leave the registers that may be among a query's nearest (exact_bound.cuh). Rows are
// the A operand, and lie as it wants them (round_rows.cuh): its registers are what one load of 16
// bytes gives. The 8 components that a lane has of a segment are not those that the operand's
// layout names, but they are the same ones in row and query, and a product does not mind the order
// of its terms. Sums begin with the rows' terms, and queries were multiplied by the form's factor,
// so that a sum is the left side of the bound's comparison.
//
// scan_held, up to 128 components: each warp holds 48 queries in registers as the B operand; the
// warps of a block share its tiles, which come from L2 to shared memory three stages of 48 rows
// deep. Where there are few queries, warps with the same ones take tiles by turns. For 96
// components a warp's step, 16 rows by 48 queries, is 36 products, 6 loads of 16 bytes a lane from
// shared memory, and an epilogue of 24 comparisons and 12 multiply-adds a lane, for limits by the
// larger error of a lane's two rows: some 120 instructions in all, counted in the code for sm_90
// (nvdisasm). L2 gives 192 bytes a row to 288 queries, 288 flops a byte. On an H100 10,000 queries
// by 10M rows take 56 ms, 341 TFLOP/s, 34 % of the peak (bench/results/gpu-h100.txt): a third of
// the issue slots are busy (Nsight Compute), and 12 warps a processor wait for the products of
// mma.sync.
//
// scan_wide, any dimension: rows and queries of a block come to shared memory for 32 components at
// a time, three stages deep, in one of four shapes. Of many queries a block takes 128 rows by 192,
// a warp 64 by 48: 14 loads of 16 bytes a lane for 48 products, which is less than shared memory
// can give. L2 gives 20 KiB for 1.6 million flops, 77 flops a byte. Up to 128 queries are shared by
// the same warps, 32 each. For up to 48, and for up to 8, every warp has 32 rows of its own and all
// queries, so that HBM limits: blocks of 256 rows, two on a processor, have 64 KiB on their way,
// where 3.35 TB/s want some 25 a microsecond of latency. Columns without a query are zeros and read
// nothing. 1M rows of 768 dimensions there: 10,000 queries 242 TFLOP/s, one query in 0.75 ms, 69 %
// of the rate of copies.
#pragma once

#include <nearcell/gpu/kernels/round_rows.cuh>

namespace nearcell::gpu {

constexpr int kTiles = 6, kTileQueries = kTiles * 8;  // products side by side
constexpr int kMostHeld = 4;                          // segments of queries that registers hold
constexpr int kHeldWarps = 6, kHeldThreads = 32 * kHeldWarps;
constexpr int kStageTiles = 3, kStageRows = kStageTiles * kTileRows, kStages = 3;

// A block of scan_wide: each warp has some tiles of 16 rows by some products of 8 queries. kBlocks
// that a processor's registers shall have room for.
template <int kProducts_, int kWarpTiles_, int kRowWarps, int kQueryWarps_, int kBlocks_>
struct WideShape {
    static constexpr int kProducts = kProducts_, kWarpTiles = kWarpTiles_;
    static constexpr int kQueryWarps = kQueryWarps_, kBlocks = kBlocks_;
    static constexpr int kThreads = 32 * kRowWarps * kQueryWarps;
    static constexpr int kBlockTiles = kWarpTiles * kRowWarps, kRows = kBlockTiles * kTileRows;
    static constexpr int kWarpQueries = 8 * kProducts, kQueries = kWarpQueries * kQueryWarps;
    static_assert(kQueries <= kThreads);

    // One segment of a block's rows and queries.
    struct Stage {
        uint4 rows[kBlockTiles][64], queries[kQueries][4];
    };
    struct Shared {
        Stage stages[kStages];
        float2 limits[kQueries];
    };
};
using ManyWide = WideShape<6, 4, 2, 4, 1>;
using SomeWide = WideShape<4, 4, 2, 4, 1>;
using FewWide = WideShape<6, 2, 8, 1, 2>;
using FewestWide = WideShape<1, 2, 8, 1, 2>;

// Blocks that a processor's registers shall have room for.
constexpr int held_blocks(int segments) { return segments <= 3 ? 2 : 1; }

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
    const unsigned short* rows;  // rounded, in tiles
    const float2* terms;         // of each place
    const unsigned short* queries;
    const float2* limits;    // of each query
    const unsigned* active;  // the queries that take part; null: all
    size_t count;            // how many
    size_t begin, end;       // places; tiles that have others, too, are read as a whole
    size_t block_rows;       // places of a block, a multiple of kTileRows
    unsigned block_tiles;    // scan_held: by 48 queries; 1, 2, 3 or 6
    size_t padded;           // components of a rounded vector, a multiple of kSegment
    unsigned* counts;        // of each that takes part: what was found, also beyond the capacity
    unsigned* candidates;    // places, `capacity` for each that takes part, in any order
    size_t capacity;
    unsigned long long* lowest;  // for NoteLowest: of each that takes part; ~0 before
};

// The query in column `slot` of the product.
SIMT_DEVICE size_t query_at(const ScanJob& job, size_t slot) {
    return job.active == nullptr ? slot : job.active[slot];
}

template <Rounding kRounding>
SIMT_DEVICE void multiply(float (&sums)[4], const uint4& rows, unsigned b0, unsigned b1) {
    const unsigned a[4] = {rows.x, rows.y, rows.z, rows.w}, b[2] = {b0, b1};
    if constexpr (kRounding == Rounding::Bfloat16)
        simt::mma_m16n8k16_bfloat16(sums, a, b);
    else
        simt::mma_m16n8k16_half(sums, a, b);
}

// Adds 16 rows by 8 queries by one segment, of which each half is an operand.
template <Rounding kRounding>
SIMT_DEVICE void multiply_segment(float (&sums)[4], const uint4& first, const uint4& second,
                                  const uint4& query) {
    multiply<kRounding>(sums, first, query.x, query.y);
    multiply<kRounding>(sums, second, query.z, query.w);
}

// This lane's part of a query: 16 bytes of each segment.
SIMT_DEVICE const uint4* lane_part(const unsigned short* vectors, size_t vector, size_t padded) {
    return reinterpret_cast<const uint4*>(vectors + vector * padded) + threadIdx.x % 4;
}

SIMT_DEVICE float2 limit_of_column(const ScanJob& job, size_t slot) {
    return slot < job.count ? job.limits[query_at(job, slot)]
                            : make_float2(-__uint_as_float(0x7f800000u), 0);
}

// Once a query has more than fit, its count need not be right, only too large.
SIMT_DEVICE void add_candidate(const ScanJob& job, size_t slot, size_t row) {
    if (simt::load_relaxed(job.counts + slot) > job.capacity) return;
    const unsigned at = atomicAdd(job.counts + slot, 1u);
    if (at < job.capacity) job.candidates[slot * job.capacity + at] = static_cast<unsigned>(row);
}

// Of a warp's queries, the one of a lane's column c of product n.
SIMT_DEVICE size_t lane_column(int n, int c) {
    return static_cast<size_t>(8 * n + c) + 2 * (threadIdx.x % 4);
}

// The sums of 16 rows by a warp's queries: a lane has two rows, of which `terms` are, by two
// columns of each product.
template <int kProducts>
struct WarpTile {
    float sums[kProducts][4];
    float2 terms[2];

    SIMT_DEVICE void start(float2 upper, float2 lower) {
        terms[0] = upper;
        terms[1] = lower;
        SIMT_UNROLL
        for (int n = 0; n < kProducts; ++n) {
            sums[n][0] = sums[n][1] = upper.x;
            sums[n][2] = sums[n][3] = lower.x;
        }
    }
};

SIMT_DEVICE float right_side(float2 limit, float error) {
    return __fmaf_rn(limit.y, error, limit.x);
}

// Whether any score may pass, by the larger error of both rows: limits grow with it.
template <int kProducts>
SIMT_DEVICE bool may_pass(const WarpTile<kProducts>& tile, const float2 (&limits)[kProducts][2]) {
    const float error = fmaxf(tile.terms[0].y, tile.terms[1].y);
    bool any = false;
    SIMT_UNROLL
    for (int n = 0; n < kProducts; ++n) {
        SIMT_UNROLL
        for (int c = 0; c < 2; ++c) {
            const float right = right_side(limits[n][c], error);
            any = any || tile.sums[n][c] <= right;
            any = any || tile.sums[n][2 + c] <= right;
        }
    }
    return any;
}

// What passes, as a set of bits in the order of the sums.
template <int kProducts>
SIMT_DEVICE unsigned passing_scores(const WarpTile<kProducts>& tile,
                                    const float2 (&limits)[kProducts][2]) {
    unsigned passing = 0;
    SIMT_UNROLL
    for (int n = 0; n < kProducts; ++n) {
        SIMT_UNROLL
        for (int i = 0; i < 4; ++i) {
            const float right = right_side(limits[n][i % 2], tile.terms[i / 2].y);
            if (tile.sums[n][i] <= right) passing |= 1u << (4 * n + i);
        }
    }
    return passing;
}

// The epilogue. Nearly always nothing passes, and there is one branch to find that out.
template <int kProducts>
SIMT_DEVICE void offer(const ScanJob& job, const WarpTile<kProducts>& tile,
                       const float2 (&limits)[kProducts][2], size_t first_slot, size_t first_row) {
    if (!may_pass(tile, limits)) return;
    const unsigned lane = threadIdx.x % 32;
    unsigned passing = passing_scores(tile, limits);
    while (passing != 0) {
        const auto bit = static_cast<unsigned>(__ffs(static_cast<int>(passing)) - 1);
        passing &= passing - 1;
        const size_t row = first_row + lane / 4 + (bit % 4 / 2) * 8;
        const size_t slot = first_slot + bit / 4 * 8 + 2 * (lane % 4) + bit % 2;
        if (job.begin <= row && row < job.end) add_candidate(job, slot, row);
    }
}

// What becomes of scores. OfferPassing: those within a query's limits are its candidates.
template <int kProducts>
class OfferPassing {
   public:
    static constexpr bool kHoldsPlaces = false;
    template <class LimitOf>
    SIMT_DEVICE void load_limits(const LimitOf& limit_of) {
        SIMT_UNROLL
        for (int n = 0; n < kProducts; ++n) {
            SIMT_UNROLL
            for (int c = 0; c < 2; ++c)
                limits_[n][c] = limit_of(lane_column(n, c));
        }
    }
    SIMT_DEVICE void take(const ScanJob& job, const WarpTile<kProducts>& tile, size_t first_slot,
                          size_t first_row) {
        offer(job, tile, limits_, first_slot, first_row);
    }
    SIMT_DEVICE void finish(const ScanJob&, size_t) const {}

   private:
    float2 limits_[kProducts][2];
};

// NoteLowest: the place of a query's lowest score, of a row that is near, though nothing is proven.
template <int kProducts>
class NoteLowest {
   public:
    static constexpr bool kHoldsPlaces = true;  // registers are for one block a processor
    SIMT_DEVICE NoteLowest() {
        SIMT_UNROLL
        for (int n = 0; n < kProducts; ++n) {
            scores_[n][0] = scores_[n][1] = __uint_as_float(0x7f800000u);
            places_[n][0] = places_[n][1] = 0;
        }
    }
    template <class LimitOf>
    SIMT_DEVICE void load_limits(const LimitOf&) const {}
    SIMT_DEVICE void take(const ScanJob& job, const WarpTile<kProducts>& tile, size_t,
                          size_t first_row) {
        if (first_row >= job.end) return;  // the last tile again
        const unsigned upper = static_cast<unsigned>(first_row) + threadIdx.x % 32 / 4;
        SIMT_UNROLL
        for (int n = 0; n < kProducts; ++n) {
            SIMT_UNROLL
            for (int i = 0; i < 4; ++i) {
                if (!(tile.sums[n][i] < scores_[n][i % 2])) continue;
                scores_[n][i % 2] = tile.sums[n][i];
                places_[n][i % 2] = upper + (i < 2 ? 0 : 8);
            }
        }
    }
    // The eight lanes that have a column agree on one.
    SIMT_DEVICE void finish(const ScanJob& job, size_t first_slot) const {
        SIMT_UNROLL
        for (int n = 0; n < kProducts; ++n) {
            SIMT_UNROLL
            for (int c = 0; c < 2; ++c) {
                const bool any = scores_[n][c] < __uint_as_float(0x7f800000u);
                const unsigned long long mine = smallest_of_lanes(
                    any ? pack_key(scores_[n][c], places_[n][c]) : ~uint64_t{0}, 4, 32);
                const size_t slot = first_slot + lane_column(n, c);
                if (threadIdx.x % 32 < 4 && slot < job.count) atomicMin(job.lowest + slot, mine);
            }
        }
    }

   private:
    float scores_[kProducts][2];
    unsigned places_[kProducts][2];
};

// The query that this lane loads for product n; for columns without one, the last.
SIMT_DEVICE const uint4* query_part(const ScanJob& job, size_t first_slot, int n) {
    const size_t slot = first_slot + static_cast<size_t>(8 * n) + threadIdx.x % 32 / 4;
    const size_t query = query_at(job, slot < job.count ? slot : job.count - 1);
    return lane_part(job.queries, query, job.padded);
}

// The tiles of a block: from that of its first place to that of its last.
struct TileRange {
    size_t begin, end;
};
SIMT_DEVICE TileRange tiles_of_block(const ScanJob& job) {
    const size_t first = job.begin / kTileRows * kTileRows;
    const size_t begin = first + blockIdx.y * job.block_rows;
    return {begin, min(begin + job.block_rows, static_cast<size_t>(padded_places(job.end)))};
}

// Stages of rows on their way to shared memory, for all warps of a block.
template <int kSegments>
struct StagedRows {
    static constexpr int kParts = 2 * kSegments * 32;  // of a tile, 16 bytes each

    uint4 (&rows)[kStages][kStageTiles * kParts];
    float2 (&terms)[kStages][kStageRows];

    // Starts to copy the tiles from `first` on; beyond the end, nothing.
    SIMT_DEVICE void fetch(const ScanJob& job, int stage, size_t first, size_t end) const {
        const auto* const from = reinterpret_cast<const uint4*>(job.rows + first * job.padded);
        const size_t left = first < end ? end - first : 0;
        SIMT_UNROLL
        for (int i = 0; i < kStageTiles * kParts / kHeldThreads; ++i) {
            const unsigned at = threadIdx.x + static_cast<unsigned>(i * kHeldThreads);
            if (at / kParts * kTileRows < left) simt::cp_async<16>(&rows[stage][at], from + at);
        }
        if (threadIdx.x < kStageRows && threadIdx.x < left)
            simt::cp_async<8>(&terms[stage][threadIdx.x], job.terms + first + threadIdx.x);
        simt::cp_async_commit();
    }

    // The products of a stage's tile with a warp's queries.
    template <Rounding kRounding>
    SIMT_DEVICE void multiply(int stage, int which, const uint4 (&queries)[kTiles][kSegments],
                              WarpTile<kTiles>& tile) const {
        const int upper = which * kTileRows + static_cast<int>(threadIdx.x % 32 / 4);
        const uint4* const part = rows[stage] + which * kParts + threadIdx.x % 32;
        tile.start(terms[stage][upper], terms[stage][upper + 8]);
        SIMT_UNROLL
        for (int s = 0; s < kSegments; ++s) {
            const uint4 first = part[64 * s], second = part[64 * s + 32];
            SIMT_UNROLL
            for (int n = 0; n < kTiles; ++n)
                multiply_segment<kRounding>(tile.sums[n], first, second, queries[n][s]);
        }
    }
};

template <Rounding kRounding, int kSegments, template <int> class Use>
SIMT_DEVICE void scan_by_held(const ScanJob& job) {
    using Staged = StagedRows<kSegments>;
    SIMT_SHARED(rows, uint4[kStages][kStageTiles * Staged::kParts]);
    SIMT_SHARED(terms, float2[kStages][kStageRows]);
    const Staged staged{rows, terms};
    const auto [begin, end] = tiles_of_block(job);
    for (int stage = 0; stage < kStages - 1; ++stage)
        staged.fetch(job, stage, begin + static_cast<size_t>(stage * kStageRows), end);

    // Warps with the same queries take tiles by turns.
    const unsigned warp = threadIdx.x / 32, turns = kHeldWarps / job.block_tiles;
    const size_t block_slot = size_t{blockIdx.x} * job.block_tiles * kTileQueries;
    const size_t first_slot = block_slot + warp % job.block_tiles * kTileQueries;
    unsigned waits = warp / job.block_tiles;
    uint4 queries[kTiles][kSegments];
    SIMT_UNROLL
    for (int n = 0; n < kTiles; ++n) {
        const uint4* const part = query_part(job, first_slot, n);
        SIMT_UNROLL
        for (int s = 0; s < kSegments; ++s)
            queries[n][s] = simt::load16(part + 4 * s);
    }
    Use<kTiles> use;
    use.load_limits([&](size_t column) { return limit_of_column(job, first_slot + column); });
    int stage = 0;
    for (size_t first = begin; first < end; first += kStageRows) {
        simt::cp_async_wait<kStages - 2>();
        __syncthreads();  // this stage is there, and all have done with the one before
        const int before = stage == 0 ? kStages - 1 : stage - 1;
        staged.fetch(job, before, first + size_t{kStages - 1} * kStageRows, end);
        const size_t stage_end = first_slot < job.count ? min(first + kStageRows, end) : first;
        for (size_t row = first; row < stage_end; row += kTileRows) {
            if (waits-- != 0) continue;
            waits = turns - 1;
            WarpTile<kTiles> tile;
            const auto which = static_cast<int>((row - first) / kTileRows);
            staged.template multiply<kRounding>(stage, which, queries, tile);
            use.take(job, tile, first_slot, row);
        }
        stage = stage == kStages - 1 ? 0 : stage + 1;
    }
    simt::cp_async_wait<0>();
    use.finish(job, first_slot);
}

// Segments on their way to shared memory, those of one group of rows after those of the last.
template <class Shape>
class WideFetch {
   public:
    using Stage = typename Shape::Stage;

    SIMT_DEVICE WideFetch(const ScanJob& job, size_t first_slot, TileRange range,
                          Stage (&stages)[kStages])
        : segments_(static_cast<unsigned>(job.padded / kSegment)),
          tile_(static_cast<unsigned>(range.begin / kTileRows)),
          end_(static_cast<unsigned>(range.end / kTileRows)),
          from_(reinterpret_cast<const uint4*>(job.rows)) {
        SIMT_UNROLL
        for (unsigned i = 0; i < kQueryLoads; ++i) {
            const unsigned at = threadIdx.x / 4 + i * (Shape::kThreads / 4);
            const size_t slot = first_slot + at;
            queries_[i] = nullptr;
            if (at >= Shape::kQueries) continue;
            if (slot < job.count) {
                queries_[i] = lane_part(job.queries, query_at(job, slot), job.padded);
                continue;
            }
            for (int stage = 0; stage < kStages; ++stage)
                stages[stage].queries[at][threadIdx.x % 4] = uint4{0, 0, 0, 0};
        }
    }

    // Starts to copy the next one, beyond the end none; of tiles there, the last one again.
    SIMT_DEVICE void start(Stage& to) {
        if (tile_ < end_) {
            SIMT_UNROLL
            for (unsigned i = 0; i < kRowLoads; ++i) {
                const unsigned at = threadIdx.x + i * Shape::kThreads;
                const size_t tile = min(tile_ + at / 64, end_ - 1);
                simt::cp_async<16>(&to.rows[at / 64][at % 64],
                                   from_ + (tile * segments_ + segment_) * 64 + at % 64);
            }
            SIMT_UNROLL
            for (unsigned i = 0; i < kQueryLoads; ++i) {
                const unsigned at = threadIdx.x / 4 + i * (Shape::kThreads / 4);
                if (queries_[i] == nullptr) continue;
                simt::cp_async<16>(&to.queries[at][threadIdx.x % 4], queries_[i] + 4 * segment_);
            }
            if (++segment_ == segments_) {
                segment_ = 0;
                tile_ += Shape::kBlockTiles;
            }
        }
        simt::cp_async_commit();
    }

   private:
    static constexpr unsigned kRowLoads = Shape::kBlockTiles * 64 / Shape::kThreads;
    static constexpr unsigned kQueryLoads =
        (Shape::kQueries * 4 + Shape::kThreads - 1) / Shape::kThreads;
    unsigned segments_, segment_ = 0, tile_, end_;
    const uint4 *from_, *queries_[kQueryLoads];  // null: none
};

template <Rounding kRounding, class Shape>
SIMT_DEVICE void multiply_stage(const typename Shape::Stage& stage, unsigned row_warp,
                                unsigned query_warp,
                                WarpTile<Shape::kProducts> (&tiles)[Shape::kWarpTiles]) {
    const unsigned lane = threadIdx.x % 32;
    uint4 halves[Shape::kWarpTiles][2];
    SIMT_UNROLL
    for (unsigned t = 0; t < Shape::kWarpTiles; ++t) {
        halves[t][0] = stage.rows[row_warp * Shape::kWarpTiles + t][lane];
        halves[t][1] = stage.rows[row_warp * Shape::kWarpTiles + t][lane + 32];
    }
    SIMT_UNROLL
    for (unsigned n = 0; n < Shape::kProducts; ++n) {
        const unsigned column = query_warp * Shape::kWarpQueries + 8 * n + lane / 4;
        const uint4 query = stage.queries[column][lane % 4];
        SIMT_UNROLL
        for (unsigned t = 0; t < Shape::kWarpTiles; ++t)
            multiply_segment<kRounding>(tiles[t].sums[n], halves[t][0], halves[t][1], query);
    }
}

template <Rounding kRounding, class Shape, template <int> class Use>
SIMT_DEVICE void scan_by_segments(const ScanJob& job) {
    SIMT_DYNAMIC_SHARED(shared, typename Shape::Shared);
    auto& stages = shared->stages;
    const auto range = tiles_of_block(job);
    const size_t block_slot = size_t{blockIdx.x} * Shape::kQueries;
    WideFetch<Shape> fetch(job, block_slot, range, stages);
    for (int stage = 0; stage < kStages - 1; ++stage)
        fetch.start(stages[stage]);
    if (threadIdx.x < Shape::kQueries)
        shared->limits[threadIdx.x] = limit_of_column(job, block_slot + threadIdx.x);

    const unsigned warp = threadIdx.x / 32, group = threadIdx.x % 32 / 4;
    const unsigned row_warp = warp / Shape::kQueryWarps, query_warp = warp % Shape::kQueryWarps;
    const size_t first_slot = block_slot + query_warp * Shape::kWarpQueries;
    const bool works = first_slot < job.count;
    Use<Shape::kProducts> use;
    int stage = 0;
    for (size_t first = range.begin; first < range.end; first += Shape::kRows) {
        const size_t warp_row = first + row_warp * (Shape::kWarpTiles * kTileRows);
        WarpTile<Shape::kProducts> tiles[Shape::kWarpTiles];
        SIMT_UNROLL
        for (unsigned t = 0; t < Shape::kWarpTiles; ++t) {
            const size_t row = min(warp_row + t * kTileRows, range.end - kTileRows) + group;
            tiles[t].start(job.terms[row], job.terms[row + 8]);
        }
        for (size_t s = 0; s < job.padded; s += kSegment) {
            simt::cp_async_wait<kStages - 2>();
            __syncthreads();  // this stage is there, and all have done with the one before
            fetch.start(stages[stage == 0 ? kStages - 1 : stage - 1]);
            if (works) multiply_stage<kRounding, Shape>(stages[stage], row_warp, query_warp, tiles);
            stage = stage == kStages - 1 ? 0 : stage + 1;
        }
        if (!works) continue;
        use.load_limits([&](size_t column) {
            return shared->limits[query_warp * Shape::kWarpQueries + column];
        });
        SIMT_UNROLL
        for (unsigned t = 0; t < Shape::kWarpTiles; ++t)
            use.take(job, tiles[t], first_slot, warp_row + t * kTileRows);
    }
    simt::cp_async_wait<0>();
    use.finish(job, first_slot);
}

template <Rounding kRounding, int kSegments, template <int> class Use>
__global__ void __launch_bounds__(kHeldThreads, held_blocks(kSegments)) scan_held(ScanJob job) {
    if constexpr (runs_here<kRounding>())
        scan_by_held<kRounding, kSegments, Use>(job);
    else
        __trap();
}

template <Rounding kRounding, class Shape, template <int> class Use>
__global__ void __launch_bounds__(Shape::kThreads, Use<1>::kHoldsPlaces ? 1 : Shape::kBlocks)
    scan_wide(ScanJob job) {
    if constexpr (runs_here<kRounding>())
        scan_by_segments<kRounding, Shape, Use>(job);
    else
        __trap();
}

}  // namespace nearcell::gpu
