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
constexpr size_t kFewQueries = 4;  // so many or fewer: a tile would be more empty than it gains

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

// The 16-bit integers of at most 16 queries as tiles of their high and low bytes.
class PackedHalves {
   public:
    static constexpr size_t kMostSteps = 512;  // four dimensions each

    NEARCELL_INLINE void pack(const int16_t* const* queries, size_t count, size_t steps) {
        tiles_of_kind_ = (steps + kTileRows - 1) / kTileRows;
        for (size_t q = 0; q < count; ++q) {
            for (size_t tile = 0; tile < tiles_of_kind_; ++tile) {
                const size_t begin = tile * kTileBytes;
                const size_t dims = steps * 4 - begin < kTileBytes ? steps * 4 - begin : kTileBytes;
                const uint64_t there =
                    dims == kTileBytes ? ~uint64_t{0} : (uint64_t{1} << dims) - 1;
                const __m512i first =
                    _mm512_maskz_loadu_epi16(static_cast<__mmask32>(there), queries[q] + begin);
                const __m512i second = _mm512_maskz_loadu_epi16(static_cast<__mmask32>(there >> 32),
                                                                queries[q] + begin + 32);
                uint8_t* const row = tiles_ + tile * kTile + q * kTileBytes;
                store_bytes_of(row, _mm512_srai_epi16(first, 8), _mm512_srai_epi16(second, 8));
                store_bytes_of(row + tiles_of_kind_ * kTile, first, second);
            }
        }
    }

    // Sums of products of bytes with NB blocks of `steps` pairs of lines each: high times high
    // ones, high times low ones either way, and low times low ones.
    template <size_t NB>
    NEARCELL_INLINE void multiply(const uint32_t* blocks, size_t steps, TileSums (&high)[NB],
                                  TileSums (&middle)[NB], TileSums (&low)[NB]) const {
        constexpr size_t kPair = 2 * 16;            // words of a step
        constexpr size_t kStride = 2 * kTileBytes;  // from a line of high bytes to the next
        const size_t whole = steps / kTileRows, rest = steps % kTileRows;
        alignas(64) uint32_t tails[NB][kTileRows][kPair];
        unroll<NB>([&](auto b) __attribute__((always_inline)) {
            std::memcpy(tails[b], blocks + (b * steps + whole * kTileRows) * kPair,
                        rest * kPair * sizeof(uint32_t));
        });
        tiles_touch_memory();
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        _tile_zero(4);
        _tile_zero(5);
        const auto add = [&](size_t tile, const uint32_t* first, const uint32_t* second)
            __attribute__((always_inline)) {
            _tile_loadd(6, tiles_ + tile * kTile, kTileBytes);
            _tile_loadd(7, first, kStride);
            _tile_dpbssd(0, 6, 7);
            _tile_loadd(7, first + 16, kStride);
            _tile_dpbsud(1, 6, 7);
            if constexpr (NB == 2) {
                _tile_loadd(7, second, kStride);
                _tile_dpbssd(3, 6, 7);
                _tile_loadd(7, second + 16, kStride);
                _tile_dpbsud(4, 6, 7);
            }
            _tile_loadd(6, tiles_ + (tiles_of_kind_ + tile) * kTile, kTileBytes);
            _tile_loadd(7, first, kStride);
            _tile_dpbusd(1, 6, 7);
            _tile_loadd(7, first + 16, kStride);
            _tile_dpbuud(2, 6, 7);
            if constexpr (NB == 2) {
                _tile_loadd(7, second, kStride);
                _tile_dpbusd(4, 6, 7);
                _tile_loadd(7, second + 16, kStride);
                _tile_dpbuud(5, 6, 7);
            }
        };
        for (size_t tile = 0; tile < whole; ++tile) {
            const uint32_t* const first = blocks + tile * kTileRows * kPair;
            add(tile, first, first + steps * kPair);
        }
        if (rest != 0) add(whole, tails[0][0], tails[NB - 1][0]);
        _tile_stored(0, high[0], kTileBytes);
        _tile_stored(1, middle[0], kTileBytes);
        _tile_stored(2, low[0], kTileBytes);
        if constexpr (NB == 2) {
            _tile_stored(3, high[1], kTileBytes);
            _tile_stored(4, middle[1], kTileBytes);
            _tile_stored(5, low[1], kTileBytes);
        }
        tiles_touch_memory();
    }

   private:
    // The lower byte of each of 64 halves.
    static NEARCELL_INLINE void store_bytes_of(uint8_t* out, __m512i first, __m512i second) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtepi16_epi8(first));
        _mm256_store_si256(reinterpret_cast<__m256i*>(out + 32), _mm512_cvtepi16_epi8(second));
    }

    size_t tiles_of_kind_ = 0;
    alignas(64) uint8_t tiles_[2 * kMostSteps * 4 * kTileRows];
};

}  // namespace

#endif
