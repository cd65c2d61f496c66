// Keys of a query and a coded row, one that lies by itself or a lane of a block: what re-ranking
// computes, and the scan for the codes that pass. Decoding and
// distance are one loop, summed as in kernels_pair.cpp, so the bits are those of decoding first.
//
// Loop: 32 values a step: the row's bytes or halves widened, then 2 to 4 arithmetic operations of
// sixteen values. Bound by the conversions; a row that is not in a cache costs far more.
#include <nearcell/cpu/simd.h>
#include <nearcell/kernels/kernel_table.h>

namespace {

using nearcell::CodeView;
using nearcell::kBlock;

enum class RowKey { L2, Dot };

// What is stored of sixteen dimensions, each in a word, becomes floats.
struct Float16Values {
    static NEARCELL_INLINE F32x16 decode(const U32x16& x, const float*, const float*) {
        return half_to_float(x);
    }
};
struct BFloat16Values {
    static NEARCELL_INLINE F32x16 decode(const U32x16& x, const float*, const float*) {
        return as_float(shift_left(x, 16));
    }
};
struct RangeInt8Values {
    static NEARCELL_INLINE F32x16 decode(const U32x16& x, const float* offset, const float* step) {
        return fma(to_float(x), load(step), load(offset));
    }
};

NEARCELL_INLINE U32x16 widen(const uint16_t* p) { return load_halves(p); }
NEARCELL_INLINE U32x16 widen(const uint8_t* p) { return load_bytes(p); }

// Where it is stored: a row by itself.
template <class E>
struct Row {
    using Element = E;
    const Element* x;
    NEARCELL_INLINE U32x16 at(size_t j) const { return widen(x + j); }
    NEARCELL_INLINE void copy(size_t j, size_t count, Element* out) const {
        std::memcpy(out, x + j, count * sizeof(Element));
    }
};
// Or one lane of a block. Its words go into registers one by one: a load of what was just stored in
// smaller pieces would wait for them.
struct Lane {
    using Element = uint8_t;
    const uint32_t* words;
    NEARCELL_INLINE U32x16 at(size_t j) const {
        return load_bytes_apart(words + j / 4 * kBlock, kBlock);
    }
    NEARCELL_INLINE void copy(size_t j, size_t count, Element* out) const {
        for (size_t i = 0; i < count; i += 4) {
            const size_t bytes = count - i < 4 ? count - i : 4;
            std::memcpy(out + i, words + (j + i) / 4 * kBlock, bytes);
        }
    }
};

template <RowKey kKey, class Values, class Source>
NEARCELL_INLINE float key_of(const CodeView* code, const Source& source, const float* query) {
    constexpr bool kRange = std::is_same_v<Values, RangeInt8Values>;
    const float *offset = code->offset, *step = code->step;
    const size_t d = code->dim;
    F32x16 low = broadcast(0.0f), high = broadcast(0.0f);
    const auto add_to = [](F32x16 sum, F32x16 a, F32x16 b) __attribute__((always_inline)) {
        if constexpr (kKey == RowKey::Dot) return fma(a, b, sum);
        const F32x16 difference = sub(a, b);
        return fma(difference, difference, sum);
    };
    const auto at = [](const float* p, size_t j) __attribute__((always_inline)) {
        return kRange ? p + j : nullptr;
    };
    size_t j = 0;
    for (; j + 32 <= d; j += 32) {
        low =
            add_to(low, Values::decode(source.at(j), at(offset, j), at(step, j)), load(query + j));
        high = add_to(high, Values::decode(source.at(j + 16), at(offset, j + 16), at(step, j + 16)),
                      load(query + j + 16));
    }
    if (j < d) {  // zeros in all that is past the end
        typename Source::Element tail[32] = {};
        float tail_query[32] = {}, tail_offset[32] = {}, tail_step[32] = {};
        source.copy(j, d - j, tail);
        std::memcpy(tail_query, query + j, (d - j) * sizeof(float));
        if constexpr (kRange) {
            std::memcpy(tail_offset, offset + j, (d - j) * sizeof(float));
            std::memcpy(tail_step, step + j, (d - j) * sizeof(float));
        }
        low = add_to(low, Values::decode(widen(tail), tail_offset, tail_step), load(tail_query));
        high = add_to(high, Values::decode(widen(tail + 16), tail_offset + 16, tail_step + 16),
                      load(tail_query + 16));
    }
    const float key = reduce_tree(add(low, high));
    return kKey == RowKey::Dot ? -key : key;
}

template <RowKey kKey, class Values, class Element>
float row(const CodeView* code, const uint32_t* words, const float* query) {
    const Row<Element> source = {reinterpret_cast<const Element*>(words)};
    return key_of<kKey, Values>(code, source, query);
}

template <RowKey kKey>
float lane(const CodeView* code, const uint32_t* block, size_t number, const float* query) {
    return key_of<kKey, RangeInt8Values>(code, Lane{block + number}, query);
}

}  // namespace

namespace nearcell {

void NEARCELL_FILL(row)(KernelTable& table) {
    table.row_l2_float16 = row<RowKey::L2, Float16Values, uint16_t>;
    table.row_ip_float16 = row<RowKey::Dot, Float16Values, uint16_t>;
    table.row_l2_bfloat16 = row<RowKey::L2, BFloat16Values, uint16_t>;
    table.row_ip_bfloat16 = row<RowKey::Dot, BFloat16Values, uint16_t>;
    table.row_l2_range_int8 = row<RowKey::L2, RangeInt8Values, uint8_t>;
    table.row_ip_range_int8 = row<RowKey::Dot, RangeInt8Values, uint8_t>;
    table.lane_l2_range_int8 = lane<RowKey::L2>;
    table.lane_ip_range_int8 = lane<RowKey::Dot>;
}

}  // namespace nearcell
