// Selecting the smallest of many keys: lane minima give a bound that few keys pass, and these are
// collected. Loops: one load and one minimum, or one load and one compare, for sixteen keys; bound
// by loads from the second cache.
#include <nearcell/cpu/simd.h>
#include <nearcell/kernels/kernel_table.h>

namespace {

void lane_minima(float* keys, size_t count, const float* bias, float scale, size_t lanes,
                 float* minima) {
    for (size_t lane = 0; lane < lanes; lane += 16) {
        F32x16 least = broadcast(__builtin_inff());
        for (size_t i = lane; i < count; i += lanes) {
            F32x16 key = load(keys + i);
            if (bias != nullptr) {
                key = fma(broadcast(scale), key, load(bias + i));
                store(keys + i, key);
            }
            least = min(key, least);  // a NaN is passed over
        }
        store(minima + lane, least);
    }
}

size_t collect_rows(const float* keys, size_t count, float bound, uint32_t* rows) {
    uint32_t* end = rows;
    for (size_t i = 0; i < count; i += 16) {
        unsigned mask = less_equal_mask(load(keys + i), broadcast(bound));
        for (; mask != 0; mask &= mask - 1)
            *end++ = static_cast<uint32_t>(i) + static_cast<uint32_t>(__builtin_ctz(mask));
    }
    return static_cast<size_t>(end - rows);
}

}  // namespace

namespace nearcell {

void NEARCELL_FILL(select)(KernelTable& table) {
    table.lane_minima = lane_minima;
    table.collect_rows = collect_rows;
}

}  // namespace nearcell
