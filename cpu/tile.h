// The tile: keys of Q queries and NB blocks of sixteen vectors, in registers. The heart of every
// batch operation; the three kernels that include it differ only in what they do with the keys.
//
// Loop: one dimension per step: NB loads of sixteen values, Q broadcasts, Q * NB fused
// multiply-adds (and as many subtractions for L2 and L1). On AVX-512, Q = 6 and NB = 4: 24
// accumulators, bound by the multiply-add unit (24 of them a step beside 10 loads). Each key is
// summed in the order of the dimensions, so it does not depend on Q, NB or the instruction set.
#pragma once

#include <nearcell/cpu/simd.h>
#include <nearcell/kernels/code_view.h>

namespace {

using nearcell::kBlock;

enum class TileKey { L2, Dot, L1 };

// g++ 12 takes over twenty minutes a file for large tiles whose every load is instrumented.
#if defined(NEARCELL_SANITIZED)
constexpr size_t kTileQueries = 2, kTileBlocks = 1;
#elif defined(__AVX512F__)
constexpr size_t kTileQueries = 6, kTileBlocks = 4;
#elif defined(__AVX2__)
constexpr size_t kTileQueries = 6, kTileBlocks = 1;
#elif defined(__aarch64__)
constexpr size_t kTileQueries = 4, kTileBlocks = 1;
#else
constexpr size_t kTileQueries = 2, kTileBlocks = 1;
#endif

// Calls done(q, b, key) with compile-time q and b for each pair of the tile.
template <TileKey kKey, size_t Q, size_t NB, class Done>
NEARCELL_INLINE void tile(const float* blocks, size_t d, const float* const* queries, Done&& done) {
    F32x16 sum[Q][NB];
    const float* query[Q];
    unroll<Q>([&](auto q) __attribute__((always_inline)) {
        query[q] = queries[q];
        unroll<NB>([&](auto b) __attribute__((always_inline)) { sum[q][b] = broadcast(0.0f); });
    });
    for (size_t j = 0; j < d; ++j) {
        F32x16 x[NB];
        unroll<NB>([&](auto b) __attribute__((always_inline)) {
            x[b] = load(blocks + (b * d + j) * kBlock);
        });
        unroll<Q>([&](auto q) __attribute__((always_inline)) {
            const F32x16 y = broadcast(query[q][j]);
            unroll<NB>([&](auto b) __attribute__((always_inline)) {
                if constexpr (kKey == TileKey::Dot) {
                    sum[q][b] = fma(x[b], y, sum[q][b]);
                } else if constexpr (kKey == TileKey::L2) {
                    const F32x16 difference = sub(x[b], y);
                    sum[q][b] = fma(difference, difference, sum[q][b]);
                } else {
                    sum[q][b] = add(abs(sub(x[b], y)), sum[q][b]);
                }
            });
        });
    }
    unroll<Q>([&](auto q) __attribute__((always_inline)) {
        unroll<NB>([&](auto b) __attribute__((always_inline)) { done(q, b, sum[q][b]); });
    });
}

// Stores the first `count` of sixteen values, or all. Not memcpy: a call would keep accumulators on
// the stack, and by bits, lest the compiler makes it one.
NEARCELL_INLINE void store_some(float* to, size_t count, const F32x16& x) {
    if (count >= kBlock) {
        store(to, x);
        return;
    }
    alignas(64) float values[16];
    store(values, x);
    for (unsigned lanes = (1u << count) - 1u; lanes != 0; lanes &= lanes - 1) {
        const int lane = __builtin_ctz(lanes);
        to[lane] = values[lane];
    }
}

// Covers `query_count` queries by calls of run.template operator()<Q>(first query), Q in {6, 4, 2,
// 1} as far as the tile allows.
template <size_t kMost = kTileQueries, class Run>
NEARCELL_INLINE void for_query_tiles(size_t query_count, Run&& run) {
    size_t q = 0;
    if constexpr (kMost >= 6) {
        for (; q + 6 <= query_count; q += 6)
            run.template operator()<6>(q);
    }
    if constexpr (kMost >= 4) {
        for (; q + 4 <= query_count; q += 4)
            run.template operator()<4>(q);
    }
    for (; q + 2 <= query_count; q += 2)
        run.template operator()<2>(q);
    for (; q < query_count; ++q)
        run.template operator()<1>(q);
}

// The same for blocks: run.template operator()<NB>(first block), NB in {4, 2, 1}.
template <size_t kMost = kTileBlocks, class Run>
NEARCELL_INLINE void for_block_tiles(size_t block_count, Run&& run) {
    size_t b = 0;
    if constexpr (kMost >= 4) {
        for (; b + 4 <= block_count; b += 4)
            run.template operator()<4>(b);
    }
    if constexpr (kMost >= 2) {
        for (; b + 2 <= block_count; b += 2)
            run.template operator()<2>(b);
    }
    for (; b < block_count; ++b)
        run.template operator()<1>(b);
}

}  // namespace
