// Products of vectors of 16-bit integers, exact: what the coarse step compares centroids by.
//
// Loop: four dimensions a step: two lines of NB blocks become halves, two registers for kLanes
// vectors, and each of Q queries multiplies both: two vpmaddwd and two vpaddd on AVX2 and AVX-512,
// as many instructions as floats need but half of the bytes; two vpdpwssd with VNNI. With AMX four
// instructions for 16 queries, 16 vectors and 64 dimensions: the bytes of the integers lie apart
// (CoarseRows), which is what tiles want. Sums are integers modulo 2^32, the same on every
// instruction set.
#include <nearcell/cpu/matrix_tiles.h>
#include <nearcell/cpu/simd_halves.h>
#include <nearcell/cpu/tile.h>
#include <nearcell/kernels/kernel_table.h>

namespace {

using nearcell::kBlock;

#if defined(NEARCELL_SANITIZED)
constexpr size_t kInt16Queries = 2, kInt16Blocks = 1;
#elif defined(__AVX512F__)
constexpr size_t kInt16Queries = 6, kInt16Blocks = 2;
#elif defined(__AVX2__)
constexpr size_t kInt16Queries = 4, kInt16Blocks = 1;
#else
constexpr size_t kInt16Queries = 2, kInt16Blocks = 1;
#endif

constexpr size_t kLinesAStep = 2;  // high bytes and low bytes of four dimensions

// Negated sums of the valid rows of a block.
NEARCELL_INLINE void store_scores(const I32x16& sums, size_t rows, float* out) {
    const F32x16 scores = sub(broadcast(0.0f), to_float(sums));
    if (rows >= kBlock) return store(out, scores);
    float lanes[kBlock];
    store(lanes, scores);
    std::memcpy(out, lanes, rows * sizeof(float));
}

// Q queries against NB blocks, of which `rows` rows exist.
template <size_t Q, size_t NB>
NEARCELL_INLINE void scores_tile(const uint32_t* blocks, size_t rows, size_t steps,
                                 const int16_t* const* queries, float* out, size_t out_stride) {
    const size_t words = steps * kLinesAStep * kBlock;  // of a block
    const int16_t* query[Q];
    unroll<Q>([&](auto q) __attribute__((always_inline)) { query[q] = queries[q]; });
    I32x16 sums[Q][NB];
    unroll<kParts>([&](auto part) __attribute__((always_inline)) {
        PairSums sum[Q][NB];
        const uint32_t* const first = blocks + part * kLanes;
        for (size_t step = 0; step < steps; ++step) {
            Halves x[NB];
            unroll<NB>([&](auto b) __attribute__((always_inline)) {
                const uint32_t* const line = first + b * words + step * kLinesAStep * kBlock;
                x[b] = join_bytes(line, line + kBlock);
            });
            unroll<Q>([&](auto q) __attribute__((always_inline)) {
                const IntBatch four = repeat_halves(query[q] + step * 4);
                unroll<NB>([&](auto b)
                               __attribute__((always_inline)) { sum[q][b].add(x[b], four); });
            });
        }
        unroll<Q>([&](auto q) __attribute__((always_inline)) {
            unroll<NB>([&](auto b) __attribute__((always_inline)) {
                sums[q][b].part[part] = sum[q][b].total();
            });
        });
    });
    unroll<Q>([&](auto q) __attribute__((always_inline)) {
        unroll<NB>([&](auto b) __attribute__((always_inline)) {
            store_scores(sums[q][b], rows - b * kBlock, out + q * out_stride + b * kBlock);
        });
    });
}

#if defined(NEARCELL_MATRIX_TILES)

// `count` packed queries against NB blocks, of which `rows` rows exist.
template <size_t NB>
void scores_matrix(const uint32_t* blocks, size_t rows, size_t steps, const PackedHalves& packed,
                   size_t count, float* out, size_t out_stride) {
    alignas(64) TileSums high[NB], middle[NB], low[NB];
    packed.multiply<NB>(blocks, steps, high, middle, low);
    for (size_t q = 0; q < count; ++q) {
        unroll<NB>([&](auto b) __attribute__((always_inline)) {
            const auto sum = [&](const TileSums& sums) __attribute__((always_inline)) {
                return IntBatch::load_aligned(sums[q]);
            };
            I32x16 total;
            total.part[0] = (sum(high[b]) << 16) + (sum(middle[b]) << 8) + sum(low[b]);
            store_scores(total, rows - b * kBlock, out + q * out_stride + b * kBlock);
        });
    }
}

// As many queries as fill tiles well; returns how many.
size_t scores_by_matrices(const uint32_t* blocks, size_t rows, size_t steps,
                          const int16_t* const* queries, size_t query_count, float* out,
                          size_t out_stride) {
    if (query_count <= kFewQueries || steps > PackedHalves::kMostSteps) return 0;
    const MatrixTiles tiles;
    PackedHalves packed;
    const size_t words = steps * kLinesAStep * kBlock;
    size_t q = 0;
    for (; query_count - q > kFewQueries; q += kTileRows) {
        const size_t count = query_count - q < kTileRows ? query_count - q : kTileRows;
        packed.pack(queries + q, count, steps);
        const auto run = [&]<size_t NB>(size_t b) __attribute__((always_inline)) {
            scores_matrix<NB>(blocks + b * words, rows - b * kBlock, steps, packed, count,
                              out + q * out_stride + b * kBlock, out_stride);
        };
        for_block_tiles<2>((rows + kBlock - 1) / kBlock, run);
        if (count < kTileRows) return query_count;
    }
    return q;
}

#endif

void scores_int16(const uint32_t* blocks, size_t rows, size_t steps, const int16_t* const* queries,
                  size_t query_count, float* out, size_t out_stride) {
    size_t done = 0;
#if defined(NEARCELL_MATRIX_TILES)
    done = scores_by_matrices(blocks, rows, steps, queries, query_count, out, out_stride);
#endif
    const size_t words = steps * kLinesAStep * kBlock;
    for_block_tiles<kInt16Blocks>(
        (rows + kBlock - 1) / kBlock, [&]<size_t NB>(size_t b) __attribute__((always_inline)) {
            for_query_tiles<kInt16Queries>(
                query_count - done, [&]<size_t Q>(size_t q) __attribute__((always_inline)) {
                    scores_tile<Q, NB>(blocks + b * words, rows - b * kBlock, steps,
                                       queries + done + q,
                                       out + (done + q) * out_stride + b * kBlock, out_stride);
                });
        });
}

}  // namespace

namespace nearcell {

void NEARCELL_FILL(int16)(KernelTable& table) { table.scores_int16 = scores_int16; }

}  // namespace nearcell
