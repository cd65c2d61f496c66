// Selecting the smallest of many keys: lane minima give a bound that few keys pass, these are
// collected, and ranked without a branch that processors would guess wrong. Loops over many keys:
// one load and one minimum, or one load and one compare, for sixteen; bound by loads from the
// second cache.
#include <algorithm>
#include <bit>

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
    for (size_t i = 0; i < count; i += 16)
        end = append_lanes(less_equal_mask(load(keys + i), broadcast(bound)),
                           static_cast<uint32_t>(i), end);
    return static_cast<size_t>(end - rows);
}

size_t count_at_most(const float* keys, size_t count, float bound) {
    size_t found = 0;
    for (size_t i = 0; i < count; i += 16) {
        found += static_cast<size_t>(
            __builtin_popcount(less_equal_mask(load(keys + i), broadcast(bound))));
    }
    return found;
}

// Bits that are ordered as signed integers like the floats, and back.
int32_t ordered_bits(float key) {
    const int32_t bits = std::bit_cast<int32_t>(key);
    return bits < 0 ? bits ^ 0x7fffffff : bits;
}
float key_of_bits(int32_t bits) {
    return std::bit_cast<float>(bits < 0 ? bits ^ 0x7fffffff : bits);
}

// Halves the interval of bits between the least and the largest key until the count is met.
float smallest_bound(const float* keys, size_t count, size_t wanted) {
    F32x16 least = load(keys), largest = least;
    for (size_t i = 16; i < count; i += 16) {
        const F32x16 key = load(keys + i);
        least = min(key, least);
        largest = max(key, largest);
    }
    float lanes[2][16];
    store(lanes[0], least);
    store(lanes[1], largest);
    const auto at = [&](size_t i) { return ordered_bits(lanes[0][i]); };
    int64_t low = at(0), high = ordered_bits(lanes[1][0]);
    for (size_t i = 1; i < 16; ++i) {
        low = std::min<int64_t>(low, at(i));
        high = std::max<int64_t>(high, ordered_bits(lanes[1][i]));
    }
    --low;  // met by none, high by all
    while (high - low > 1) {
        const int64_t middle = (low + high) >> 1;
        const size_t found = count_at_most(keys, count, key_of_bits(static_cast<int32_t>(middle)));
        if (found == wanted) return key_of_bits(static_cast<int32_t>(middle));
        (found < wanted ? low : high) = middle;
    }
    return key_of_bits(static_cast<int32_t>(high));
}

// Of sixteen keys at a time, against all others one by one: two operations for sixteen pairs, and
// no branch that depends on the keys.
void rank_keys(const float* keys, size_t count, uint32_t* ranks) {
    alignas(64) static constexpr float kLaneNumbers[16] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                           8, 9, 10, 11, 12, 13, 14, 15};
    const F32x16 one = broadcast(1.0f), zero = broadcast(0.0f), lane = load(kLaneNumbers);
    for (size_t first = 0; first < count; first += 16) {
        const F32x16 own = load(keys + first);
        F32x16 smaller = zero;
        for (size_t i = 0; i < first; ++i)  // not select_less(own, other): equal ones count
            smaller = add(smaller, select_less(own, broadcast(keys[i]), zero, one));
        for (size_t i = 0; i < 16; ++i) {
            const F32x16 other = broadcast(keys[first + i]);
            const F32x16 equal_before =
                select_less(broadcast(static_cast<float>(i)), lane, one, zero);
            smaller = add(
                smaller, select_less(other, own, one, select_less(own, other, zero, equal_before)));
        }
        for (size_t i = first + 16; i < count; ++i)
            smaller = add(smaller, select_less(broadcast(keys[i]), own, one, zero));
        float rank[16];
        store(rank, smaller);
        for (size_t i = 0; i < 16; ++i)
            ranks[first + i] = static_cast<uint32_t>(rank[i]);
    }
}

}  // namespace

namespace nearcell {

void NEARCELL_FILL(select)(KernelTable& table) {
    table.lane_minima = lane_minima;
    table.collect_rows = collect_rows;
    table.smallest_bound = smallest_bound;
    table.rank_keys = rank_keys;
}

}  // namespace nearcell
