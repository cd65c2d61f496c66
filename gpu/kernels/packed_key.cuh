// A key and what makes equal keys differ, as one number: what selections compare.
#pragma once

#include <nearcell/gpu/simt/simt.h>

namespace nearcell::gpu {

constexpr unsigned kWarp = 0xffffffffu;  // all lanes

// Numbers in the order of (key, tag): the key as an integer above the tag. -0 is 0.
SIMT_DEVICE uint64_t pack_key(float key, unsigned tag) {
    const unsigned bits = __float_as_uint(key + 0.0f);
    const unsigned ordered = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
    return uint64_t{ordered} << 32 | tag;
}
// The bits of the key, and the tag.
constexpr unsigned key_bits(uint64_t packed) {
    const auto ordered = static_cast<unsigned>(packed >> 32);
    return (ordered >> 31) != 0 ? ordered & 0x7fffffffu : ~ordered;
}
constexpr unsigned tag_of(uint64_t packed) { return static_cast<unsigned>(packed); }

// The smallest number of lanes whose numbers differ in the bits from `first` up to `end`, in all of
// them: (1, 16) of sixteen neighbours, (4, 32) of every fourth lane.
SIMT_DEVICE unsigned long long smallest_of_lanes(unsigned long long number, int first, int end) {
    for (int lanes = first; lanes < end; lanes *= 2) {
        const unsigned long long other = __shfl_xor_sync(kWarp, number, lanes);
        number = other < number ? other : number;
    }
    return number;
}

}  // namespace nearcell::gpu
