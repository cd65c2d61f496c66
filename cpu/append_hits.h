// How scans hand out the keys that passed: one Hit a set bit of the mask. The hits of a tile go to
// memory only when there are any, so this stays out of the hot loops.
#pragma once

#include <nearcell/cpu/simd.h>
#include <nearcell/kernels/kernel_table.h>

namespace {

NEARCELL_INLINE nearcell::Hit* append_hits(const F32x16& key, unsigned mask, size_t query,
                                           size_t first_slot, nearcell::Hit* hits) {
    alignas(64) float keys[16];
    store(keys, key);
    for (; mask != 0; mask &= mask - 1) {
        const int lane = __builtin_ctz(mask);
        *hits++ = {keys[lane], static_cast<uint32_t>(query),
                   static_cast<uint32_t>(first_slot + static_cast<size_t>(lane))};
    }
    return hits;
}

}  // namespace
