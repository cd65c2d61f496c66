// Scans of codes by look-ups: for each nibble of a code, the query's table says what it adds to the
// key: the four signs of one-bit codes to the dot product, the centroid of a product code to the
// distance (Andre, Kermarrec, Le Scouarnec: Cache locality is not enough, VLDB 2015, section 4).
//
// Loop: eight blocks are split into planes once per call, and each query passes them, four at a
// time with a table in a register: for two lines and a block 8 look-ups, 8 additions of bytes and 3
// operations on halves on AVX2 (half of it, twice as wide, on AVX-512), all indices from the first
// cache. Bound by the instructions issued; d / 4 look-ups a vector and query. The epilogue is 4
// fused multiply-adds, 1 addition and 1 compare a block, 1 multiply-add for product codes. Sums are
// integers: the same bits on every instruction set with fused multiply-adds.
#include <nearcell/cpu/append_hits.h>
#include <nearcell/cpu/simd_lookup.h>
#include <nearcell/kernels/kernel_table.h>

namespace {

using nearcell::CodedQuery;
using nearcell::CodeKind;
using nearcell::CodeView;
using nearcell::Hit;
using nearcell::kBlock;
using nearcell::kMostLookupLines;

#if defined(__AVX2__) && !defined(NEARCELL_SANITIZED)
constexpr size_t kTileBlocks = 4;
#else
constexpr size_t kTileBlocks = 1;
#endif
constexpr size_t kGroupBlocks = 8;  // split at a time; with a query's tables they fit L1
constexpr float kLeastUnit = 1e-36f;

// Lines whose look-ups a byte holds: on AVX2 it sums four of each, elsewhere two at most. Entries
// are at most 31 for one-bit codes, 63 for product codes, whose tables are all that errs.
#if defined(__AVX2__) && !defined(__AVX512F__)
constexpr size_t kLargeTableLines = 1;
#else
constexpr size_t kLargeTableLines = 2;
#endif

// The signs of dimension i, of four, in the sixteen values of a nibble, halved and turned around.
alignas(64) constexpr float kSigns[4][16] = {
    {.5f, -.5f, .5f, -.5f, .5f, -.5f, .5f, -.5f, .5f, -.5f, .5f, -.5f, .5f, -.5f, .5f, -.5f},
    {.5f, .5f, -.5f, -.5f, .5f, .5f, -.5f, -.5f, .5f, .5f, -.5f, -.5f, .5f, .5f, -.5f, -.5f},
    {.5f, .5f, .5f, .5f, -.5f, -.5f, -.5f, -.5f, .5f, .5f, .5f, .5f, -.5f, -.5f, -.5f, -.5f},
    {.5f, .5f, .5f, .5f, .5f, .5f, .5f, .5f, -.5f, -.5f, -.5f, -.5f, -.5f, -.5f, -.5f, -.5f},
};

// Where the table of a nibble is.
NEARCELL_INLINE uint8_t* table_of(uint8_t* tables, size_t nibble) {
    return tables + nibble / 8 * kSplitLine + (nibble % 2 * 4 + nibble % 8 / 2) * 16;
}

void bits_tables(const float* query, size_t d, uint8_t* tables, float* unit, float* offset) {
    constexpr float kLargestEntry = 31.0f;
    const size_t nibbles = (d + 31) / 32 * 8;
    const auto value = [&](size_t nibble, size_t i) __attribute__((always_inline)) {
        return nibble * 4 + i < d ? query[nibble * 4 + i] : 0.0f;
    };
    // A table spans twice `reach`; the widest one sets the unit of all.
    float widest = 0.0f, sum = 0.0f;
    for (size_t m = 0; m < nibbles; ++m) {
        float reach = 0.0f;
        for (size_t i = 0; i < 4; ++i)
            reach += 0.5f * __builtin_fabsf(value(m, i));
        widest = reach > widest ? reach : widest;
        sum += reach;
    }
    *unit = 2.0f * widest / kLargestEntry;
    *offset = -sum;
    const float scale = *unit >= kLeastUnit ? 1.0f / *unit : 0.0f;
    for (size_t m = 0; m < nibbles; ++m) {
        float reach = 0.0f;
        F32x16 entry = broadcast(0.0f);
        for (size_t i = 0; i < 4; ++i) {
            reach += 0.5f * __builtin_fabsf(value(m, i));
            entry = fma(broadcast(value(m, i)), load(kSigns[i]), entry);
        }
        entry = mul(add(entry, broadcast(reach)), broadcast(scale));
        entry = max(min(entry, broadcast(kLargestEntry)), broadcast(0.0f));
        store_bytes(table_of(tables, m), entry);
    }
}

// The least of the lanes.
NEARCELL_INLINE float least(F32x16 x) {
    x = min(x, swap_lanes<8>(x));
    x = min(x, swap_lanes<4>(x));
    x = min(x, swap_lanes<2>(x));
    x = min(x, swap_lanes<1>(x));
    float lanes[16];
    store(lanes, x);
    return lanes[0];
}

// What each centroid of a subspace adds to the key.
NEARCELL_INLINE F32x16 entries_of(const CodeView* code, const float* columns, const float* query,
                                  int similarity, size_t m) {
    F32x16 sum = broadcast(0.0f);
    for (size_t j = code->sub_begin[m]; j < code->sub_begin[m + 1]; ++j) {
        const F32x16 column = load(columns + j * 16);
        const F32x16 x = similarity != 0 ? column : sub(column, broadcast(query[j]));
        sum = fma(x, similarity != 0 ? broadcast(-query[j]) : x, sum);
    }
    return sum;
}

void product4_tables(const CodeView* code, const float* columns, const float* query, int similarity,
                     uint8_t* tables, float* unit, float* offset) {
    constexpr float kLargestEntry = 63.0f;
    const size_t count = code->subquantizers, nibbles = (count + 7) / 8 * 8;
    float base = 0.0f, spans = 0.0f, magnitude = 0.0f;
    for (size_t m = 0; m < count; ++m) {
        const F32x16 entries = entries_of(code, columns, query, similarity, m);
        const float low = least(entries), high = -least(sub(broadcast(0.0f), entries));
        base += low;
        spans += high - low;
        magnitude += __builtin_fabsf(low) > __builtin_fabsf(high) ? __builtin_fabsf(low)
                                                                  : __builtin_fabsf(high);
    }
    *unit = spans / (kLargestEntry * static_cast<float>(count));
    const float slack = static_cast<float>(count + code->dim / 16 + 32) * 0x1p-24f;
    *offset = base - slack * magnitude;
    const float scale = *unit >= kLeastUnit ? 1.0f / *unit : 0.0f;
    for (size_t m = 0; m < nibbles; ++m) {
        F32x16 entry = broadcast(0.0f);
        if (m < count) {
            const F32x16 entries = entries_of(code, columns, query, similarity, m);
            entry = mul(sub(entries, broadcast(least(entries))), broadcast(scale));
            // Rounded to the nearest afterwards: down.
            entry =
                max(sub(min(entry, broadcast(kLargestEntry)), broadcast(0.5f)), broadcast(0.0f));
        }
        store_bytes(table_of(tables, m), entry);
    }
}

// Lines of nibbles at the start of a code.
template <CodeKind kKind>
NEARCELL_INLINE size_t lines_of(const CodeView& code) {
    return kKind == CodeKind::Bits ? (code.dim + 31) / 32 : code.words;
}

// One query against NB blocks. kKind: Bits, with factors, or Product4.
template <CodeKind kKind, size_t NB>
NEARCELL_INLINE Hit* scan_tile(const CodeView& code, const uint32_t* blocks, const uint8_t* planes,
                               const CodedQuery& query, const uint16_t* masks, size_t number,
                               size_t first_slot, Hit* hits) {
    constexpr bool kBits = kKind == CodeKind::Bits;
    constexpr size_t kLinesAtOnce = kBits ? 2 : kLargeTableLines;
    const size_t lines = lines_of<kKind>(code);
    const uint8_t* const tables = static_cast<const uint8_t*>(query.operand);
    LookupSums sums[NB];
    size_t line = 0;
    for (; line + kLinesAtOnce <= lines; line += kLinesAtOnce) {
        add_lines<kLinesAtOnce>(sums, tables + line * kSplitLine, planes + line * kSplitLine,
                                lines * kSplitLine);
    }
    if (line < lines) {
        add_lines<1>(sums, tables + line * kSplitLine, planes + line * kSplitLine,
                     lines * kSplitLine);
    }
    const F32x16 unit = broadcast(query.unit), offset = broadcast(query.offset);
    const F32x16 shift = broadcast(query.shift), reach = broadcast(-query.reach);
    const F32x16 threshold = broadcast(query.threshold);
    unroll<NB>([&](auto b) __attribute__((always_inline)) {
        F32x16 key = fma(sums[b].total(), unit, offset);
        if constexpr (kBits) {
            const uint32_t* const factors = blocks + (b * code.words + lines) * kBlock;
            const U32x16 scale_and_bias = load_words(factors),
                         error_and_term = load_words(factors + kBlock);
            const F32x16 scale = as_float(shift_left(scale_and_bias, 16)),
                         error = as_float(shift_left(error_and_term, 16)),
                         term = as_float(bits_at(error_and_term, 0, 0xffff0000u));
            key = add(fma(scale, key, term), fma(reach, error, shift));
        } else {
            key = add(key, shift);
        }
        const unsigned mask = less_equal_mask(key, threshold) & static_cast<unsigned>(masks[b]);
        if (__builtin_expect(mask != 0, 0))
            hits = append_hits(key, mask, number, first_slot + b * kBlock, hits);
    });
    return hits;
}

void prefetch_tables(const CodedQuery& query, size_t lines) {
    for (size_t byte = 0; byte < lines * kSplitLine; byte += 64)
        __builtin_prefetch(static_cast<const uint8_t*>(query.operand) + byte);
}

template <CodeKind kKind>
size_t scan_nibbles(const CodeView* code, const void* blocks, size_t block_count,
                    const CodedQuery* queries, size_t query_count, const uint16_t* masks,
                    Hit* hits) {
    alignas(64) uint8_t planes[kGroupBlocks * kMostLookupLines * kSplitLine];
    const size_t lines = lines_of<kKind>(*code);
    Hit* end = hits;
    for (size_t first = 0; first < block_count; first += kGroupBlocks) {
        const uint32_t* words = static_cast<const uint32_t*>(blocks) + first * code->words * kBlock;
        const size_t count =
            block_count - first < kGroupBlocks ? block_count - first : kGroupBlocks;
        for (size_t b = 0; b < count; ++b) {
            for (size_t line = 0; line < lines; ++line)
                split_line(words + (b * code->words + line) * kBlock,
                           planes + (b * lines + line) * kSplitLine);
        }
        for (size_t q = 0; q < query_count; ++q) {
            if (q + 2 < query_count) prefetch_tables(queries[q + 2], lines);
            const auto tile = [&]<size_t NB>(size_t b) __attribute__((always_inline)) {
                end = scan_tile<kKind, NB>(*code, words + b * code->words * kBlock,
                                           planes + b * lines * kSplitLine, queries[q],
                                           masks + first + b, q, (first + b) * kBlock, end);
            };
            size_t b = 0;
            if constexpr (kTileBlocks >= 4) {
                for (; b + 4 <= count; b += 4)
                    tile.template operator()<4>(b);
                if (count - b == 3) tile.template operator()<3>(b);
                if (count - b == 2) tile.template operator()<2>(b);
                if (count - b == 1) tile.template operator()<1>(b);
            } else {
                for (; b < count; ++b)
                    tile.template operator()<1>(b);
            }
        }
    }
    return static_cast<size_t>(end - hits);
}

}  // namespace

namespace nearcell {

void NEARCELL_FILL(lookup)(KernelTable& table) {
    table.bits_tables = bits_tables;
    table.scan_bits = scan_nibbles<CodeKind::Bits>;
    table.product4_tables = product4_tables;
    table.scan_product4 = scan_nibbles<CodeKind::Product4>;
}

}  // namespace nearcell
