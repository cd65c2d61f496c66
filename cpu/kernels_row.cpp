// Keys of a query and a coded row that lies by itself: what re-ranking computes. Decoding and
// distance are one loop, summed as in kernels_pair.cpp, so the bits are those of decoding first.
//
// Loop: 32 values a step: the row's bytes or halves widened, then 2 to 4 arithmetic operations of
// sixteen values. Bound by the conversions; a row that is not in a cache costs far more.
#include <nearcell/cpu/simd.h>
#include <nearcell/kernels/kernel_table.h>

namespace {

using nearcell::CodeView;

enum class RowKey { L2, Dot };

struct Float16Values {
    using Element = uint16_t;
    static NEARCELL_INLINE F32x16 decode(const Element* p, const float*, const float*) {
        return half_to_float(load_halves(p));
    }
};
struct BFloat16Values {
    using Element = uint16_t;
    static NEARCELL_INLINE F32x16 decode(const Element* p, const float*, const float*) {
        return as_float(shift_left(load_halves(p), 16));
    }
};
struct RangeInt8Values {
    using Element = uint8_t;
    static NEARCELL_INLINE F32x16 decode(const Element* p, const float* offset, const float* step) {
        return fma(to_float(load_bytes(p)), load(step), load(offset));
    }
};

template <RowKey kKey, class Values>
float row(const CodeView* code, const uint32_t* words, const float* query) {
    using Element = typename Values::Element;
    constexpr bool kRange = std::is_same_v<Values, RangeInt8Values>;
    const Element* x = reinterpret_cast<const Element*>(words);
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
        low = add_to(low, Values::decode(x + j, at(offset, j), at(step, j)), load(query + j));
        high = add_to(high, Values::decode(x + j + 16, at(offset, j + 16), at(step, j + 16)),
                      load(query + j + 16));
    }
    if (j < d) {  // zeros in all that is past the end
        Element tail[32] = {};
        float tail_query[32] = {}, tail_offset[32] = {}, tail_step[32] = {};
        std::memcpy(tail, x + j, (d - j) * sizeof(Element));
        std::memcpy(tail_query, query + j, (d - j) * sizeof(float));
        if constexpr (kRange) {
            std::memcpy(tail_offset, offset + j, (d - j) * sizeof(float));
            std::memcpy(tail_step, step + j, (d - j) * sizeof(float));
        }
        low = add_to(low, Values::decode(tail, tail_offset, tail_step), load(tail_query));
        high = add_to(high, Values::decode(tail + 16, tail_offset + 16, tail_step + 16),
                      load(tail_query + 16));
    }
    const float key = reduce_tree(add(low, high));
    return kKey == RowKey::Dot ? -key : key;
}

}  // namespace

namespace nearcell {

void NEARCELL_FILL(row)(KernelTable& table) {
    table.row_l2_float16 = row<RowKey::L2, Float16Values>;
    table.row_ip_float16 = row<RowKey::Dot, Float16Values>;
    table.row_l2_bfloat16 = row<RowKey::L2, BFloat16Values>;
    table.row_ip_bfloat16 = row<RowKey::Dot, BFloat16Values>;
    table.row_l2_range_int8 = row<RowKey::L2, RangeInt8Values>;
    table.row_ip_range_int8 = row<RowKey::Dot, RangeInt8Values>;
}

}  // namespace nearcell
