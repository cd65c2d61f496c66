#include "coverage.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

namespace nearcell::fuzz {
namespace {

constexpr size_t kSlots = size_t{1} << 16;
alignas(64) uint8_t now[kSlots];     // how often, at most 255
alignas(64) uint8_t before[kSlots];  // a bit for each order of magnitude that was seen

// Counts of 1, 2, 3 to 4, 5 to 8, ... are told apart.
uint8_t magnitude(unsigned count) {
    return static_cast<uint8_t>(1u
                                << std::min(7u, static_cast<unsigned>(std::bit_width(count - 1u))));
}

}  // namespace

void count_block(uintptr_t address) {
    // Relative to the program, which is loaded elsewhere each time.
    const uintptr_t offset = address - reinterpret_cast<uintptr_t>(&count_block);
    uint8_t& count = now[(offset ^ (offset >> 16)) % kSlots];
    count = static_cast<uint8_t>(count + (count < 255));
}

void clear_coverage() { std::memset(now, 0, sizeof now); }

bool reached_something_new() {
    bool fresh = false;
    for (size_t i = 0; i < kSlots; i += sizeof(uint64_t)) {
        uint64_t eight = 0;
        std::memcpy(&eight, now + i, sizeof eight);
        if (eight == 0) continue;
        for (size_t j = i; j < i + sizeof eight; ++j) {
            if (now[j] == 0) continue;
            const uint8_t seen = magnitude(now[j]);
            fresh = fresh || (before[j] & seen) == 0;
            before[j] |= seen;
        }
    }
    return fresh;
}

size_t blocks_reached() {
    return kSlots - static_cast<size_t>(std::count(before, before + kSlots, uint8_t{0}));
}

}  // namespace nearcell::fuzz

extern "C" void __sanitizer_cov_trace_pc() {
    nearcell::fuzz::count_block(reinterpret_cast<uintptr_t>(__builtin_return_address(0)));
}
