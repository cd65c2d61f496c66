// Places of the rounded base, and which of them a scan has found.
#pragma once

#include <nearcell/gpu/simt/simt.h>

namespace nearcell::gpu {

// Which row stands at which place of the rounded base: places step through the rows by a number
// that has no divisor in common with theirs, so that the first places are a sample of all rows.
struct RowOrder {
    uint64_t rows, step;  // both below 2^32
};
SIMT_DEVICE uint64_t row_at(const RowOrder& order, uint64_t place) {
    return place * order.step % order.rows;
}

// What a round has found of each query that takes part: that many places, from `capacity` times its
// number on. More than the capacity: not all of them are there.
struct FoundPlaces {
    const unsigned* counts;  // null: of each query the `all` places from `begin` on
    const unsigned* places;
    size_t capacity;
    unsigned begin, all;

    SIMT_DEVICE unsigned count(size_t slot) const { return counts == nullptr ? all : counts[slot]; }
    SIMT_DEVICE unsigned place(size_t slot, size_t i) const {
        return counts == nullptr ? begin + static_cast<unsigned>(i) : places[slot * capacity + i];
    }
};

// Rows among which a vector's label is.
struct LabelCandidates {
    FoundPlaces found;
    RowOrder order;
};

}  // namespace nearcell::gpu
