// Assignment: for each of sixteen vectors, the lanes of a block, the row with the smallest key and
// the second smallest key. Rows take the place of tile.h's queries, so that nothing is ever reduced
// across lanes. Cost: tile.h plus six operations a row and block.
#include <nearcell/cpu/tile.h>
#include <nearcell/kernels/kernel_table.h>

namespace {

using nearcell::Nearest;

template <TileKey kKey>
void assign(const float* blocks, size_t block_count, size_t d, const float* const* rows,
            size_t row_count, const float* bias, float scale, uint32_t first_row,
            Nearest* nearest) {
    for_block_tiles(
        block_count, [&]<size_t NB>(size_t first) __attribute__((always_inline)) {
            for_query_tiles(
                row_count, [&]<size_t Q>(size_t row0) __attribute__((always_inline)) {
                    F32x16 best[NB], second[NB];
                    U32x16 number[NB];
                    unroll<NB>([&](auto b) __attribute__((always_inline)) {
                        best[b] = load(nearest[first + b].best);
                        second[b] = load(nearest[first + b].second);
                        number[b] = load_words(nearest[first + b].row);
                    });
                    tile<kKey, Q, NB>(
                        blocks + first * d * kBlock, d, rows + row0,
                        [&](auto q, auto b, F32x16 key) __attribute__((always_inline)) {
                            const size_t row = row0 + q;
                            if constexpr (kKey == TileKey::Dot)
                                key = fma(broadcast(scale), key, broadcast(bias[row]));
                            // A NaN key leaves all three as they are: see min and max.
                            second[b] = min(max(best[b], key), second[b]);
                            number[b] = select_less(
                                key, best[b],
                                broadcast_word(first_row + static_cast<uint32_t>(row)), number[b]);
                            best[b] = min(key, best[b]);
                        });
                    unroll<NB>([&](auto b) __attribute__((always_inline)) {
                        store(nearest[first + b].best, best[b]);
                        store(nearest[first + b].second, second[b]);
                        store_words(nearest[first + b].row, number[b]);
                    });
                });
        });
}

}  // namespace

namespace nearcell {

void NEARCELL_FILL(assign)(KernelTable& table) {
    table.assign_dot_f32 = assign<TileKey::Dot>;
    table.assign_l2_f32 = assign<TileKey::L2>;
}

}  // namespace nearcell
