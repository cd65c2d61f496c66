// The ceilings of the roofline (kernels/peaks.h).
//
// Loop: the arithmetic of one step of a tile, or of one look-up, on kChains independent registers
// of sums; operands stay in registers, and are hidden so that the compiler computes each term anew.
// Bound by the arithmetic units: chains are at least latency times units of today's processors.
// peak_read: one load and one exclusive or a register, bound by loads from where the data lie.
#include <nearcell/cpu/matrix_tiles.h>
#include <nearcell/cpu/simd_peak.h>
#include <nearcell/kernels/kernel_table.h>

namespace {

using nearcell::kPeakSums;

// With x, y, a term and a mask there must be a register for each.
#if defined(__aarch64__)
constexpr size_t kChains = 24;
#elif defined(__AVX2__)
constexpr size_t kChains = 12;
#else
constexpr size_t kChains = 8;
#endif

template <class Step>
NEARCELL_INLINE void repeat(float x, float y, size_t rounds, float* sums, Step&& step) {
    constexpr size_t kGroup = kChains * kLanes;
    static_assert(kPeakSums % kGroup == 0);
    Batch a(x), b(y);
    for (size_t first = 0; first < kPeakSums; first += kGroup) {
        Batch sum[kChains];
        unroll<kChains>([&](auto c) __attribute__((always_inline)) {
            sum[c] = Batch::load_unaligned(sums + first + c * kLanes);
        });
        for (size_t round = 0; round < rounds; ++round) {
            unroll<kChains>([&](auto c) __attribute__((always_inline)) {
                hide(a);
                sum[c] = step(a, b, sum[c]);
            });
        }
        unroll<kChains>([&](auto c) __attribute__((always_inline)) {
            sum[c].store_unaligned(sums + first + c * kLanes);
        });
    }
}

void peak_fma(float x, float y, size_t rounds, float* sums) {
    repeat(
        x, y, rounds, sums,
        [](const Batch& a, const Batch& b, const Batch& sum)
            __attribute__((always_inline)) { return fma_part(a, b, sum); });
}

void peak_sub_fma(float x, float y, size_t rounds, float* sums) {
    repeat(
        x, y, rounds, sums,
        [](const Batch& a, const Batch& b, const Batch& sum) __attribute__((always_inline)) {
            const Batch difference = a - b;
            return fma_part(difference, difference, sum);
        });
}

void peak_sub_abs_add(float x, float y, size_t rounds, float* sums) {
    repeat(
        x, y, rounds, sums,
        [](const Batch& a, const Batch& b, const Batch& sum)
            __attribute__((always_inline)) { return abs_part(a - b) + sum; });
}

void peak_lookup(const uint8_t* table, const uint8_t* indices, size_t rounds, uint8_t* sums) {
    constexpr size_t kGroup = kChains * kByteLanes;
    static_assert(4 * kPeakSums % kGroup == 0);
    const ByteBatch entries = repeat_bytes(table);
    ByteBatch index = repeat_bytes(indices);
    for (size_t first = 0; first < 4 * kPeakSums; first += kGroup) {
        ByteBatch sum[kChains];
        unroll<kChains>([&](auto c) __attribute__((always_inline)) {
            std::memcpy(&sum[c], sums + first + c * kByteLanes, kByteLanes);
        });
        for (size_t round = 0; round < rounds; ++round) {
            unroll<kChains>([&](auto c) __attribute__((always_inline)) {
                hide(index);
                add_look_up(sum[c], entries, index);
            });
        }
        unroll<kChains>([&](auto c) __attribute__((always_inline)) {
            std::memcpy(sums + first + c * kByteLanes, &sum[c], kByteLanes);
        });
    }
}

#if defined(NEARCELL_MATRIX_TILES)

// Four rounds at a time: rows of 64 bytes hold the sixteen four times. Returns how many were done.
size_t add_by_matrices(const uint8_t* codes, const int8_t* query, size_t rounds, int32_t* sums) {
    alignas(64) uint8_t query_tile[kTile], code_tile[kTile];
    for (size_t i = 0; i < kTile; ++i) {
        query_tile[i] = static_cast<uint8_t>(query[i % 16]);
        code_tile[i] = codes[i / kTileBytes % 4 * 4 + i % 4];  // a row: four dimensions of vectors
    }
    const MatrixTiles tiles;
    _tile_loadd(4, query_tile, kTileBytes);
    _tile_loadd(5, code_tile, kTileBytes);
    constexpr size_t kSums = sizeof(TileSums) / sizeof(int32_t);
    static_assert(kPeakSums % (4 * kSums) == 0);
    for (size_t first = 0; first < kPeakSums; first += 4 * kSums) {
        int32_t* const group = sums + first;
        _tile_loadd(0, group, kTileBytes);
        _tile_loadd(1, group + kSums, kTileBytes);
        _tile_loadd(2, group + 2 * kSums, kTileBytes);
        _tile_loadd(3, group + 3 * kSums, kTileBytes);
        for (size_t round = 0; round + 4 <= rounds; round += 4) {
            _tile_dpbsud(0, 4, 5);
            _tile_dpbsud(1, 4, 5);
            _tile_dpbsud(2, 4, 5);
            _tile_dpbsud(3, 4, 5);
        }
        _tile_stored(0, group, kTileBytes);
        _tile_stored(1, group + kSums, kTileBytes);
        _tile_stored(2, group + 2 * kSums, kTileBytes);
        _tile_stored(3, group + 3 * kSums, kTileBytes);
    }
    tiles_touch_memory();
    return rounds / 4 * 4;
}

#endif

void peak_product(const uint8_t* codes, const int8_t* query, size_t rounds, int32_t* sums) {
#if defined(NEARCELL_MATRIX_TILES)
    rounds -= add_by_matrices(codes, query, rounds, sums);
#endif
    // Fewer where the lines of a step need registers, too; only the last addition is waited for.
    constexpr size_t kSums = kProductLines == 1 ? kChains : 4;
    constexpr size_t kGroup = kSums * kLanes;
    static_assert(kPeakSums % kGroup == 0);
    constexpr size_t kSteps = 4 / kProductLines;
    WordBatch lines[kSteps][kProductLines][1];
    unroll<4>([&](auto line) __attribute__((always_inline)) {
        uint32_t four;
        std::memcpy(&four, codes + line * 4, sizeof four);
        lines[line / kProductLines][line % kProductLines][0] = WordBatch(four);
    });
    const uint8_t* const bytes = reinterpret_cast<const uint8_t*>(query);
    for (size_t first = 0; first < kPeakSums; first += kGroup) {
        IntBatch sum[kSums][1];
        unroll<kSums>([&](auto c) __attribute__((always_inline)) {
            sum[c][0] = IntBatch::load_unaligned(sums + first + c * kLanes);
        });
        for (size_t round = 0; round < rounds; ++round) {
            unroll<kSteps>([&](auto step) __attribute__((always_inline)) {
                unroll<kSums>([&](auto c) __attribute__((always_inline)) {
                    unroll<kProductLines>([&](auto l) __attribute__((always_inline)) {
                        hide(lines[step][l][0]);
                    });
                    add_products<kProductLines, 1>(sum[c], lines[step],
                                                   bytes + step * kProductLines * 4);
                });
            });
        }
        unroll<kSums>([&](auto c) __attribute__((always_inline)) {
            sum[c][0].store_unaligned(sums + first + c * kLanes);
        });
    }
}

uint32_t peak_read(const uint32_t* words, size_t count) {
    U32x16 sum[2] = {broadcast_word(0), broadcast_word(0)};
    for (size_t i = 0; i < count; i += 64) {
        unroll<4>([&](auto part) __attribute__((always_inline)) {
            sum[part % 2] = bit_xor(sum[part % 2], load_words(words + i + part * 16));
        });
    }
    uint32_t lanes[16], all = 0;
    store_words(lanes, bit_xor(sum[0], sum[1]));
    for (const uint32_t lane : lanes)
        all ^= lane;
    return all;
}

}  // namespace

namespace nearcell {

void NEARCELL_FILL(peak)(KernelTable& table) {
    table.peak_fma = peak_fma;
    table.peak_sub_fma = peak_sub_fma;
    table.peak_sub_abs_add = peak_sub_abs_add;
    table.peak_lookup = peak_lookup;
    table.peak_product = peak_product;
    table.peak_read = peak_read;
}

}  // namespace nearcell
