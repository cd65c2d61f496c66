// Scans of codes of bytes by integer products with a query of signed bytes.
//
// Loop: four lines (sixteen dimensions) of NB parts of blocks and Q queries a step. For each query
// and part, 8 vectors on AVX2, 16 on AVX-512: four vpmaddubsw, three vpaddw, one vpmaddwd and one
// vpaddd, bound by the five multiplications; with VNNI one vpdpbusd a line in their place. Q by NB
// is 6 by 1 on AVX2, 6 by 2 on AVX-512, 6 by 4 with VNNI. Blocks of a cell stay in the first caches
// while all queries pass. With AMX, where there are enough queries: matrix_tiles.h. Sums are
// integers: the same on every instruction set.
#include <nearcell/cpu/append_hits.h>
#include <nearcell/cpu/matrix_tiles.h>
#include <nearcell/cpu/simd_bytes.h>
#include <nearcell/cpu/tile.h>
#include <nearcell/kernels/kernel_table.h>

#include <algorithm>

namespace {

using nearcell::CodedQuery;
using nearcell::CodeView;
using nearcell::Hit;
using nearcell::kBlock;
using nearcell::kInt8Factors;

#if defined(NEARCELL_SANITIZED)
constexpr size_t kInt8Queries = 2, kInt8Blocks = 1;
#elif defined(__AVX512VNNI__)
constexpr size_t kInt8Queries = 6, kInt8Blocks = 4;
#elif defined(__AVX512F__)
constexpr size_t kInt8Queries = 6, kInt8Blocks = 2;
#elif defined(__AVX2__)
constexpr size_t kInt8Queries = 6, kInt8Blocks = 1;
#else
constexpr size_t kInt8Queries = 4, kInt8Blocks = 1;
#endif

// Fractions of the golden ratio's multiples: any few neighbours are spread evenly over [0, 1).
struct Fractions {
    alignas(64) float value[64];
    constexpr Fractions() : value() {
        for (size_t j = 0; j < 64; ++j) {
            const double turns = 0.61803398874989485 * static_cast<double>(j + 1);
            value[j] = static_cast<float>(turns - static_cast<double>(static_cast<int>(turns)));
        }
    }
};
constexpr Fractions kFractions;

// Sixteen values from j on, zero past the end.
NEARCELL_INLINE F32x16 load_tail(const float* p, size_t j, size_t d) {
    if (j + 16 <= d) return load(p + j);
    float tail[16] = {};
    std::memcpy(tail, p + j, (d - j) * sizeof(float));
    return load(tail);
}

void int8_query(const float* weights, const float* center, size_t d, int largest_pair,
                int8_t* bytes, float* unit, float* offset) {
    constexpr float kLeastUnit = 1e-36f;
    F32x16 widest = broadcast(0.0f);
    for (size_t j = 0; j < d; j += 16) {
        const F32x16 magnitude = abs(load_tail(weights, j, d));
        widest = max(widest, add(magnitude, swap_lanes<1>(magnitude)));
    }
    widest = max(widest, swap_lanes<8>(widest));
    widest = max(widest, swap_lanes<4>(widest));
    widest = max(widest, swap_lanes<2>(widest));
    float lanes[16];
    store(lanes, widest);
    *unit = lanes[0] / static_cast<float>(largest_pair - 2);
    if (!(*unit >= kLeastUnit)) *unit = 0.0f;
    const float scale = *unit > 0.0f ? 1.0f / *unit : 0.0f;
    F32x16 sum = broadcast(0.0f);
    for (size_t j = 0; j < d; j += 16) {
        // Rounding to the nearest, half a unit lower and 128 higher, so that it is never negative.
        const F32x16 fraction = *unit > 0.0f ? load(kFractions.value + j % 64) : broadcast(0.5f);
        const F32x16 units =
            fma(load_tail(weights, j, d), broadcast(scale), add(fraction, broadcast(127.5f)));
        uint8_t raised[16];
        store_bytes(raised, units);
        for (size_t i = 0; i < 16; ++i)
            bytes[j + i] = static_cast<int8_t>(j + i < d ? raised[i] ^ 128u : 0u);
        const F32x16 value = sub(to_float(load_bytes(raised)), broadcast(128.0f));
        sum = fma(value, load_tail(center, j, d), sum);
    }
    *offset = -*unit * reduce_tree(sum);
}

// The sums of one part of NB blocks and Q queries.
template <size_t Q, size_t NB>
NEARCELL_INLINE void sum_part(const uint32_t* part, size_t words, size_t lines,
                              const uint8_t* const (&queries)[Q], IntBatch (&sums)[Q][NB]) {
    const auto add = [&]<size_t kLines>(size_t line) __attribute__((always_inline)) {
        WordBatch codes[kLines][NB];
        unroll<kLines>([&](auto l) __attribute__((always_inline)) {
            unroll<NB>([&](auto b) __attribute__((always_inline)) {
                codes[l][b] = WordBatch::load_unaligned(part + (b * words + line + l) * kBlock);
            });
        });
        unroll<Q>([&](auto q) __attribute__((always_inline)) {
            add_products<kLines, NB>(sums[q], codes, queries[q] + line * 4);
        });
    };
    unroll<Q>([&](auto q) __attribute__((always_inline)) {
        unroll<NB>([&](auto b) __attribute__((always_inline)) { sums[q][b] = IntBatch(0); });
    });
    size_t line = 0;
    for (; line + kProductLines <= lines; line += kProductLines)
        add.template operator()<kProductLines>(line);
    for (; line < lines; ++line)
        add.template operator()<1>(line);
}

// A block's factors: what makes keys of sums.
struct Factors {
    F32x16 term, error;
    NEARCELL_INLINE Factors(const CodeView& code, const uint32_t* block) {
        const float* const lines =
            reinterpret_cast<const float*>(block + (code.words - kInt8Factors) * kBlock);
        term = load(lines);
        error = load(lines + kBlock);
    }
    NEARCELL_INLINE F32x16 key(const I32x16& sum, const CodedQuery& query) const {
        const F32x16 product = fma(to_float(sum), broadcast(query.unit), broadcast(query.offset));
        return add(add(product, term), fma(broadcast(-query.reach), error, broadcast(query.shift)));
    }
};

// Q queries against NB blocks.
template <size_t Q, size_t NB>
NEARCELL_INLINE Hit* scan_tile(const CodeView& code, const uint32_t* blocks,
                               const CodedQuery* queries, const uint16_t* masks, size_t first_query,
                               size_t first_slot, Hit* hits) {
    const size_t lines = code.words - kInt8Factors;
    const uint8_t* operands[Q];
    unroll<Q>([&](auto q) __attribute__((always_inline)) {
        operands[q] = static_cast<const uint8_t*>(queries[q].operand);
    });
    I32x16 sums[Q][NB];
    unroll<kParts>([&](auto i) __attribute__((always_inline)) {
        IntBatch part[Q][NB];
        sum_part<Q, NB>(blocks + i * kLanes, code.words, lines, operands, part);
        unroll<Q>([&](auto q) __attribute__((always_inline)) {
            unroll<NB>([&](auto b)
                           __attribute__((always_inline)) { sums[q][b].part[i] = part[q][b]; });
        });
    });
    unroll<NB>([&](auto b) __attribute__((always_inline)) {
        const Factors factors(code, blocks + b * code.words * kBlock);
        unroll<Q>([&](auto q) __attribute__((always_inline)) {
            const F32x16 key = factors.key(sums[q][b], queries[q]);
            const unsigned mask = less_equal_mask(key, broadcast(queries[q].threshold)) &
                                  static_cast<unsigned>(masks[b]);
            if (__builtin_expect(mask != 0, 0))
                hits = append_hits(key, mask, first_query + q, first_slot + b * kBlock, hits);
        });
    });
    return hits;
}

// Queries from first_query on, in vector registers.
Hit* scan_by_vectors(const CodeView& code, const uint32_t* blocks, size_t block_count,
                     const CodedQuery* queries, size_t first_query, size_t query_count,
                     const uint16_t* masks, Hit* hits) {
    for_block_tiles<kInt8Blocks>(
        block_count, [&]<size_t NB>(size_t b) __attribute__((always_inline)) {
            const uint32_t* const words = blocks + b * code.words * kBlock;
            for_query_tiles<kInt8Queries>(
                query_count - first_query, [&]<size_t Q>(size_t i) __attribute__((always_inline)) {
                    const size_t q = first_query + i;
                    hits =
                        scan_tile<Q, NB>(code, words, queries + q, masks + b, q, b * kBlock, hits);
                });
        });
    return hits;
}

#if defined(NEARCELL_MATRIX_TILES)

// 16 * kGroups queries, of which `count` exist, against NB blocks.
template <size_t kGroups, size_t NB>
NEARCELL_INLINE Hit* scan_matrix(const CodeView& code, const uint32_t* blocks,
                                 const PackedQueries& packed, const CodedQuery* queries,
                                 size_t count, const uint16_t* masks, size_t first_query,
                                 size_t first_slot, Hit* hits) {
    alignas(64) TileSums sums[kGroups][NB];
    packed.multiply<kGroups, NB>(blocks, code.words, code.words - kInt8Factors, sums);
    const Factors first(code, blocks), second(code, blocks + (NB - 1) * code.words * kBlock);
    for (size_t q = 0; q < count; ++q) {
        const F32x16 threshold = broadcast(queries[q].threshold);
        unroll<NB>([&](auto b) __attribute__((always_inline)) {
            I32x16 sum;
            sum.part[0] = IntBatch::load_aligned(sums[q / kTileRows][b][q % kTileRows]);
            const F32x16 key = (b == 0 ? first : second).key(sum, queries[q]);
            const unsigned mask = less_equal_mask(key, threshold) & static_cast<unsigned>(masks[b]);
            if (__builtin_expect(mask != 0, 0))
                hits = append_hits(key, mask, first_query + q, first_slot + b * kBlock, hits);
        });
    }
    return hits;
}

// As many queries as fill tiles well; returns how many.
size_t scan_by_matrices(const CodeView& code, const uint32_t* blocks, size_t block_count,
                        const CodedQuery* queries, size_t query_count, const uint16_t* masks,
                        Hit*& hits) {
    const size_t lines = code.words - kInt8Factors;
    if (query_count <= kFewQueries || lines > PackedQueries::kMostLines) return 0;
    const MatrixTiles tiles;
    PackedQueries packed;
    size_t q = 0;
    while (query_count - q > kFewQueries) {
        const size_t count = std::min(query_count - q, PackedQueries::kMost);
        packed.pack(
            count, lines, [&](size_t i) __attribute__((always_inline)) {
                return static_cast<const uint8_t*>(queries[q + i].operand);
            });
        for_block_tiles<2>(
            block_count, [&]<size_t NB>(size_t b) __attribute__((always_inline)) {
                const uint32_t* const words = blocks + b * code.words * kBlock;
                hits = count > kTileRows
                           ? scan_matrix<2, NB>(code, words, packed, queries + q, count, masks + b,
                                                q, b * kBlock, hits)
                           : scan_matrix<1, NB>(code, words, packed, queries + q, count, masks + b,
                                                q, b * kBlock, hits);
            });
        q += count;
    }
    return q;
}

#endif

size_t scan_int8(const CodeView* code, const void* blocks, size_t block_count,
                 const CodedQuery* queries, size_t query_count, const uint16_t* masks, Hit* hits) {
    const uint32_t* const words = static_cast<const uint32_t*>(blocks);
    Hit* end = hits;
    size_t done = 0;
#if defined(NEARCELL_MATRIX_TILES)
    done = scan_by_matrices(*code, words, block_count, queries, query_count, masks, end);
#endif
    end = scan_by_vectors(*code, words, block_count, queries, done, query_count, masks, end);
    return static_cast<size_t>(end - hits);
}

}  // namespace

namespace nearcell {

void NEARCELL_FILL(int8)(KernelTable& table) {
    table.int8_query = int8_query;
    table.scan_int8 = scan_int8;
    table.int8_pair = kLargestPair;
}

}  // namespace nearcell
