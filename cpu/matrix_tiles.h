// Sums of products of bytes by matrix extensions (AMX): an instruction takes 16 queries, 16 vectors
// and 64 dimensions. Sixteen lines of a block are an operand as they lie; queries are packed first.
#pragma once

#include <cstdint>
#include <cstring>

#include <nearcell/cpu/simd.h>
#include <nearcell/kernels/code_view.h>

#if defined(__AMX_INT8__) && !defined(NEARCELL_SANITIZED)
#define NEARCELL_MATRIX_TILES

namespace {

constexpr size_t kTileRows = 16;   // queries, or lines of a block
constexpr size_t kTileBytes = 64;  // of a row: dimensions, or a line
constexpr size_t kTile = kTileRows * kTileBytes;

// The intrinsics do not tell the compiler which memory they read and write.
NEARCELL_INLINE void tiles_touch_memory() { asm volatile("" ::: "memory"); }

// The thread's tiles while one of these lives; otherwise the system has none to save.
class MatrixTiles {
   public:
    MatrixTiles() {
        struct Config {
            uint8_t palette, start_row, reserved[14];
            uint16_t row_bytes[16];
            uint8_t rows[16];
        };
        static_assert(sizeof(Config) == 64);
        alignas(64) Config config = {};
        config.palette = 1;
        for (size_t tile = 0; tile < 8; ++tile) {
            config.row_bytes[tile] = kTileBytes;
            config.rows[tile] = kTileRows;
        }
        tiles_touch_memory();
        _tile_loadconfig(&config);
    }
    ~MatrixTiles() { _tile_release(); }
    MatrixTiles(const MatrixTiles&) = delete;
    MatrixTiles& operator=(const MatrixTiles&) = delete;
};

// The sums of 16 queries and the 16 vectors of a block.
using TileSums = int32_t[kTileRows][16];

// The bytes of at most 32 queries as tiles: of each 16 queries one for every 64 dimensions.
class PackedQueries {
   public:
    static constexpr size_t kMost = 2 * kTileRows;
    static constexpr size_t kMostLines = 512;  // four dimensions each

    // bytes_of(q): 4 * lines bytes.
    template <class BytesOf>
    NEARCELL_INLINE void pack(size_t count, size_t lines, BytesOf&& bytes_of) {
        steps_ = (lines + kTileRows - 1) / kTileRows;
        const size_t whole = lines / kTileRows;
        const __mmask16 rest = static_cast<__mmask16>((1u << lines % kTileRows) - 1u);
        for (size_t q = 0; q < count; ++q) {
            const uint8_t* const bytes = bytes_of(q);
            uint8_t* const row =
                tiles_ + q / kTileRows * steps_ * kTile + q % kTileRows * kTileBytes;
            for (size_t step = 0; step < whole; ++step) {
                _mm512_store_si512(row + step * kTile,
                                   _mm512_loadu_si512(bytes + step * kTileBytes));
            }
            if (rest != 0) {
                _mm512_store_si512(row + whole * kTile,
                                   _mm512_maskz_loadu_epi32(rest, bytes + whole * kTileBytes));
            }
        }
    }

    // sums[i][b]: of queries 16 i on with block b of NB, one every `words` lines.
    template <size_t kGroups, size_t NB>
    NEARCELL_INLINE void multiply(const uint32_t* blocks, size_t words, size_t lines,
                                  TileSums (&sums)[kGroups][NB]) const {
        const size_t whole = lines / kTileRows, rest = lines % kTileRows;
        alignas(64) uint32_t tails[NB][kTileRows][16];
        // What lies past a block's lines may not be readable; what stands in tails there meets
        // zeros of the queries.
        unroll<NB>([&](auto b) __attribute__((always_inline)) {
            std::memcpy(tails[b], blocks + (b * words + whole * kTileRows) * 16, rest * kTileBytes);
        });
        tiles_touch_memory();
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        const auto add = [&](size_t step, const void* first, const void* second)
            __attribute__((always_inline)) {
            _tile_loadd(6, first, kTileBytes);
            if constexpr (NB == 2) _tile_loadd(7, second, kTileBytes);
            _tile_loadd(4, tiles_ + step * kTile, kTileBytes);
            _tile_dpbsud(0, 4, 6);
            if constexpr (NB == 2) _tile_dpbsud(1, 4, 7);
            if constexpr (kGroups == 2) {
                _tile_loadd(5, tiles_ + (steps_ + step) * kTile, kTileBytes);
                _tile_dpbsud(2, 5, 6);
                if constexpr (NB == 2) _tile_dpbsud(3, 5, 7);
            }
        };
        for (size_t step = 0; step < whole; ++step) {
            const uint32_t* const first = blocks + step * kTileRows * 16;
            add(step, first, first + words * 16);
        }
        if (rest != 0) add(whole, tails[0], tails[NB - 1]);
        _tile_stored(0, sums[0][0], kTileBytes);
        if constexpr (NB == 2) _tile_stored(1, sums[0][1], kTileBytes);
        if constexpr (kGroups == 2) {
            _tile_stored(2, sums[1][0], kTileBytes);
            if constexpr (NB == 2) _tile_stored(3, sums[1][1], kTileBytes);
        }
        tiles_touch_memory();
    }

   private:
    size_t steps_ = 0;
    alignas(64) uint8_t tiles_[kMost * kMostLines * 4];
};

}  // namespace

#endif
