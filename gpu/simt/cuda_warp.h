// CUDA's warp shuffles, votes and reductions on the emulation. Part of its front door: include
// simt.h instead.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include <nearcell/gpu/simt/cuda_sync.h>

namespace nearcell::simt {

enum class WarpReduction : uint8_t { Add, Min, Max, SignedMin, SignedMax, And, Or, Xor };

unsigned lane_number();
unsigned live_lanes();
uint64_t shuffle(unsigned mask, uint64_t value, unsigned from, CodeLine where);
unsigned ballot(unsigned mask, bool vote, CodeLine where);
unsigned match(unsigned mask, uint64_t value, CodeLine where);
unsigned reduce(unsigned mask, unsigned value, WarpReduction reduction, CodeLine where);

template <class T>
uint64_t to_word(T value) {
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
    uint64_t word = 0;
    std::memcpy(&word, &value, sizeof value);
    return word;
}

template <class T>
T shuffle_value(unsigned mask, T value, unsigned from, CodeLine where) {
    const uint64_t word = shuffle(mask, to_word(value), from, where);
    std::memcpy(&value, &word, sizeof value);
    return value;
}

// The first lane of this lane's group of `width`, a power of two.
inline unsigned group_begin(int width) {
    return lane_number() & ~(static_cast<unsigned>(width) - 1);
}

}  // namespace nearcell::simt

template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32, SIMT_WHERE) {
    namespace simt = nearcell::simt;
    const unsigned lane = static_cast<unsigned>(from) & (static_cast<unsigned>(width) - 1);
    return simt::shuffle_value(mask, value, simt::group_begin(width) + lane, where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, SIMT_WHERE) {
    namespace simt = nearcell::simt;
    const unsigned lane = simt::lane_number();
    const unsigned from = lane ^ static_cast<unsigned>(bits);
    const bool beyond = from >= simt::group_begin(width) + static_cast<unsigned>(width);
    return simt::shuffle_value(mask, value, beyond ? lane : from, where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, SIMT_WHERE) {
    namespace simt = nearcell::simt;
    const unsigned lane = simt::lane_number();
    const bool before = lane - simt::group_begin(width) < distance;
    return simt::shuffle_value(mask, value, before ? lane : lane - distance, where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, SIMT_WHERE) {
    namespace simt = nearcell::simt;
    const unsigned lane = simt::lane_number();
    const unsigned in_group = lane - simt::group_begin(width);
    const bool beyond = in_group + distance >= static_cast<unsigned>(width);
    return simt::shuffle_value(mask, value, beyond ? lane : lane + distance, where);
}

inline unsigned __ballot_sync(unsigned mask, int vote, SIMT_WHERE) {
    return nearcell::simt::ballot(mask, vote != 0, where);
}
inline int __any_sync(unsigned mask, int vote, SIMT_WHERE) {
    return nearcell::simt::ballot(mask, vote != 0, where) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int vote, SIMT_WHERE) {
    return nearcell::simt::ballot(mask, vote == 0, where) == 0 ? 1 : 0;
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, SIMT_WHERE) {
    return nearcell::simt::match(mask, nearcell::simt::to_word(value), where);
}
// CUDA promises nothing about which lanes run together; here: those that have not returned.
inline unsigned __activemask() { return nearcell::simt::live_lanes(); }

#define SIMT_WARP_REDUCTION(NAME, TYPE, REDUCTION)                                                 \
    inline TYPE NAME(unsigned mask, TYPE value, SIMT_WHERE) {                                      \
        return static_cast<TYPE>(nearcell::simt::reduce(                                           \
            mask, static_cast<unsigned>(value), nearcell::simt::WarpReduction::REDUCTION, where)); \
    }
SIMT_WARP_REDUCTION(__reduce_add_sync, unsigned, Add)
SIMT_WARP_REDUCTION(__reduce_add_sync, int, Add)
SIMT_WARP_REDUCTION(__reduce_min_sync, unsigned, Min)
SIMT_WARP_REDUCTION(__reduce_min_sync, int, SignedMin)
SIMT_WARP_REDUCTION(__reduce_max_sync, unsigned, Max)
SIMT_WARP_REDUCTION(__reduce_max_sync, int, SignedMax)
SIMT_WARP_REDUCTION(__reduce_and_sync, unsigned, And)
SIMT_WARP_REDUCTION(__reduce_or_sync, unsigned, Or)
SIMT_WARP_REDUCTION(__reduce_xor_sync, unsigned, Xor)
#undef SIMT_WARP_REDUCTION
