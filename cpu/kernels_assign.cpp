// Assignment: for each query the row with the smallest key and the second smallest key, kept a lane
// each in registers across the blocks and reduced once at the end. Cost: tile.h plus five
// operations a block and query.
#include <nearcell/cpu/tile.h>
#include <nearcell/kernels/kernel_table.h>

namespace {

using nearcell::Nearest;

struct Lanes {
    F32x16 best, second, block;
};

// Takes what the lanes found over to `nearest`. The second smallest key of all lanes is the
// smallest of their bests once the winner's is replaced by its second.
NEARCELL_INLINE void merge_lanes(const Lanes& lanes, size_t first_row, Nearest& nearest) {
    const float low = reduce_min(lanes.best);
    if (!(low < __builtin_inff())) return;  // no lane names a row
    alignas(64) float best[16], second[16], block[16];
    store(best, lanes.best);
    store(second, lanes.second);
    store(block, lanes.block);
    unsigned winners = less_equal_mask(lanes.best, broadcast(low));
    unsigned winner = 0;
    uint32_t row = UINT32_MAX;
    for (; winners != 0; winners &= winners - 1) {
        const unsigned lane = static_cast<unsigned>(__builtin_ctz(winners));
        const uint32_t its_row =
            static_cast<uint32_t>(first_row + static_cast<size_t>(block[lane]) * kBlock + lane);
        if (its_row < row) {
            row = its_row;
            winner = lane;
        }
    }
    best[winner] = second[winner];
    const float next = reduce_min(load(best));
    if (low < nearest.best || (low == nearest.best && row < nearest.row)) {
        nearest.second = nearest.best < next ? nearest.best : next;
        nearest.best = low;
        nearest.row = row;
    } else if (low < nearest.second) {
        nearest.second = low;
    }
}

template <TileKey kKey>
void assign(const float* blocks, size_t block_count, size_t d, const float* bias, float scale,
            const float* const* queries, size_t query_count, uint32_t first_row, Nearest* nearest) {
    const float infinity = __builtin_inff();
    for_query_tiles(
        query_count, [&]<size_t Q>(size_t q0) __attribute__((always_inline)) {
            Lanes lanes[Q];
            for (Lanes& lane : lanes) {
                lane = {broadcast(infinity), broadcast(infinity), broadcast(0.0f)};
            }
            for_block_tiles(
                block_count, [&]<size_t NB>(size_t first) __attribute__((always_inline)) {
                    tile<kKey, Q, NB>(
                        blocks + first * d * kBlock, d, queries + q0,
                        [&](auto q, auto b, F32x16 key) __attribute__((always_inline)) {
                            const size_t block = first + b;
                            const F32x16 offset = load(bias + block * kBlock);
                            key = kKey == TileKey::Dot ? fma(broadcast(scale), key, offset)
                                                       : add(key, offset);
                            Lanes& lane = lanes[q];
                            // A NaN key leaves all three as they are: see min and max.
                            lane.second = min(max(lane.best, key), lane.second);
                            lane.block = select_less(
                                key, lane.best, broadcast(static_cast<float>(block)), lane.block);
                            lane.best = min(key, lane.best);
                        });
                });
            for (size_t q = 0; q < Q; ++q) {
                merge_lanes(lanes[q], first_row, nearest[q0 + q]);
            }
        });
}

}  // namespace

namespace nearcell {

void NEARCELL_FILL(assign)(KernelTable& table) {
    table.assign_dot_f32 = assign<TileKey::Dot>;
    table.assign_l2_f32 = assign<TileKey::L2>;
}

}  // namespace nearcell
