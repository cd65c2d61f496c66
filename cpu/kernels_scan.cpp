// Scans: tiles of queries by stored vectors whose epilogue lets only keys under the query's
// threshold leave the registers. Cost and bounds: tile.h; the epilogue is one compare a tile cell.
#include <nearcell/cpu/append_hits.h>
#include <nearcell/cpu/tile.h>
#include <nearcell/kernels/kernel_table.h>

namespace {

using nearcell::Hit;

template <TileKey kKey>
size_t scan(const float* blocks, size_t block_count, size_t d, const float* bias,
            const float* const* queries, size_t query_count, const float* thresholds,
            const uint16_t* masks, Hit* hits) {
    Hit* end = hits;
    for_block_tiles(
        block_count, [&]<size_t NB>(size_t first) __attribute__((always_inline)) {
            for_query_tiles(
                query_count, [&]<size_t Q>(size_t q0) __attribute__((always_inline)) {
                    tile<kKey, Q, NB>(
                        blocks + first * d * kBlock, d, queries + q0,
                        [&](auto q, auto b, F32x16 key) __attribute__((always_inline)) {
                            const size_t block = first + b;
                            const size_t query = q0 + q;
                            if constexpr (kKey == TileKey::Dot) key = sub(broadcast(0.0f), key);
                            if (bias != nullptr) key = add(key, load(bias + block * kBlock));
                            const unsigned mask =
                                less_equal_mask(key, broadcast(thresholds[query])) &
                                static_cast<unsigned>(masks[block]);
                            if (__builtin_expect(mask != 0, 0)) {
                                end = append_hits(key, mask, query, block * kBlock, end);
                            }
                        });
                });
        });
    return static_cast<size_t>(end - hits);
}

template <TileKey kKey>
void scores(const float* blocks, size_t rows, size_t d, const float* const* queries,
            size_t query_count, float* out, size_t out_stride) {
    for_block_tiles((rows + kBlock - 1) / kBlock, [&]<size_t NB>(
                                                      size_t first) __attribute__((always_inline)) {
        for_query_tiles(
            query_count, [&]<size_t Q>(size_t q0) __attribute__((always_inline)) {
                tile<kKey, Q, NB>(
                    blocks + first * d * kBlock, d,
                    queries + q0, [&](auto q, auto b, F32x16 key) __attribute__((always_inline)) {
                        const size_t row = (first + b) * kBlock;
                        float* to = out + (q0 + q) * out_stride + row;
                        if constexpr (kKey == TileKey::Dot) key = sub(broadcast(0.0f), key);
                        store_some(to, rows - row, key);
                    });
            });
    });
}

}  // namespace

namespace nearcell {

void NEARCELL_FILL(scan)(KernelTable& table) {
    table.scan_l2_f32 = scan<TileKey::L2>;
    table.scan_ip_f32 = scan<TileKey::Dot>;
    table.scan_l1_f32 = scan<TileKey::L1>;
    table.scores_l2_f32 = scores<TileKey::L2>;
    table.scores_ip_f32 = scores<TileKey::Dot>;
    table.scores_l1_f32 = scores<TileKey::L1>;
}

}  // namespace nearcell
