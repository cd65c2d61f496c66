// KernelTable: one function pointer per operation of ops.def, one table per instruction set.
// Kernels take raw pointers and sizes, allocate nothing, throw nothing. Blocks are those of
// CodeView; they must be 4-byte aligned, and are fastest on 64-byte lines. d >= 1 everywhere.
//
// Floats: each value is computed in an order that depends on d only, with fused multiply-adds where
// the instruction set has them, so avx2, avx512, avx512vnni and neon give the same bits; base
// (which has none) differs by its roundings. Error bound of a sum over d: (d + 2) 2^-24 sum |terms|
// for the blocked kernels, (d / 32 + 7) 2^-24 sum |terms| for the pair kernels.
#pragma once

#include <cstddef>
#include <cstdint>

#include <nearcell/kernels/code_view.h>
#include <nearcell/kernels/convolution.h>
#include <nearcell/kernels/peaks.h>

namespace nearcell {

// A score that passed a scan's threshold.
struct Hit {
    float key;
    uint32_t query;  // index into the call's queries
    uint32_t slot;   // index into the call's vectors: 16 * block + lane
};

// The key of two vectors: squared distance, negated dot product, or L1 distance.
using PairKernel = float(const float* a, const float* b, size_t d);

// Keys of `query_count` queries against `block_count` float blocks ([d][16] each); those that are
// <= thresholds[query] and whose bit in masks[block] is set are appended to hits, in no order; NaN
// never is. bias (16 a block, may be null) is added to the key. Returns how many hits were written;
// room for query_count * block_count * 16 is needed.
using ScanKernel = size_t(const float* blocks, size_t block_count, size_t d, const float* bias,
                          const float* const* queries, size_t query_count, const float* thresholds,
                          const uint16_t* masks, Hit* hits);

// out[i * out_stride + j] = key of query i and vector j, for all j < rows.
using ScoresKernel = void(const float* blocks, size_t rows, size_t d, const float* const* queries,
                          size_t query_count, float* out, size_t out_stride);

// out[i * out_stride + j] = minus the sum of the products of query i and vector j, for all j <
// rows. Vectors of 16-bit integers, four dimensions a step: of sixteen vectors a line of high
// bytes, signed, then one of low bytes, four a word. Queries have 4 * steps values. No sum may
// leave 32 bits. Error: of the exact sum, one rounding.
using ScoresInt16Kernel = void(const uint32_t* blocks, size_t rows, size_t steps,
                               const int16_t* const* queries, size_t query_count, float* out,
                               size_t out_stride);

// Of sixteen vectors, the lanes of a block: the nearest row seen so far, and the second smallest
// key.
struct Nearest {
    float best[kBlock];
    float second[kBlock];
    uint32_t row[kBlock];
};

// Lowers nearest[b], lane by lane, by the keys of the vectors of block b and of `row_count` rows,
// which are numbered from first_row. Over several calls rows come in ascending order: equal keys
// stay with the earlier one. Keys that are NaN or +infinity change nothing. assign_dot: key =
// bias[row] + scale * dot; assign_l2: the squared distance, bias and scale unused.
using AssignKernel = void(const float* blocks, size_t block_count, size_t d,
                          const float* const* rows, size_t row_count, const float* bias,
                          float scale, uint32_t first_row, Nearest* nearest);

// One block of 16 codes to floats: out is [d][16]; centroid (d, may be null) is added.
using DecodeKernel = void(const CodeView* code, const void* block, const float* centroid,
                          float* out);

// minima[i] = the smallest of keys i, i + lanes, i + 2 lanes, ... that is not NaN, or infinity.
// With a bias each key becomes bias + scale * key before. count is a multiple of lanes, lanes
// of 16.
using LaneMinimaKernel = void(float* keys, size_t count, const float* bias, float scale,
                              size_t lanes, float* minima);
// Which keys are at most the bound, ascending; returns how many. count is a multiple of 16, and
// rows has room for as many.
using CollectRowsKernel = size_t(const float* keys, size_t count, float bound, uint32_t* rows);

// A bound that `wanted` of the keys meet: exactly so many or, where equal keys leave no such bound,
// the least one. count is a multiple of 16 and wanted in [1, count]; no key is NaN.
using SmallestBoundKernel = float(const float* keys, size_t count, size_t wanted);
// ranks[i] = how many keys are smaller than key i, or equal to it and before it: its place in a
// stable sort. count is a multiple of 16; no key is NaN.
using RankKeysKernel = void(const float* keys, size_t count, uint32_t* ranks);

// The tables of a query for codes of one bit a dimension: entry v of a nibble's table is the part
// of -<query, u> of its four dimensions (CodeView, Bits), as a number of `unit`s above the least
// one, rounded to the nearest in [0, 31], or 0 where the unit is below 1e-36. Each line of a code,
// 32 dimensions, has 128 bytes of tables: those of its nibbles 0, 2, 4, 6, 1, 3, 5, 7. -<query, u>
// is unit * (sum of the entries) + offset, within half a unit a nibble. tables: ceil(d / 32) * 128
// bytes.
using BitsTablesKernel = void(const float* query, size_t d, uint8_t* tables, float* unit,
                              float* offset);

// The same for codes Product4: entry v of a nibble's table is what centroid v of its codebook adds
// to the key (squared distance; with `similarity` the negated dot product) above what the nearest
// one does, in `unit`s, at most 63, rounded down (whole numbers perhaps to one less). unit: the
// mean over the tables of what an entry spans, / 63. unit * (sum of a code's entries) + offset is
// never above the key of the decoded vector as the pair kernels have it. columns: value v of
// dimension j of the codebooks at 16 j + v; tables: code->words * 128 bytes, 0 past the last
// codebook.
using ProductTablesKernel = void(const CodeView* code, const float* columns, const float* query,
                                 int similarity, uint8_t* tables, float* unit, float* offset);

// A query for codes of bytes c. Of the sum of weights_j (c_j - center_j) it keeps q_j =
// floor(weights_j / unit + a fixed fraction), signed bytes: unit * (sum of q_j c_j) + offset is
// that sum with weights whose errors lie within a unit. The fractions, different ones for
// neighbours, make errors of equal weights cancel. unit: the largest |weights_2i| + |weights_2i+1|
// / (largest_pair - 2), so that |q_2i| + |q_2i+1| is at most largest_pair, which is at most 128;
// weights count as 0 where it is below 1e-36. bytes: d rounded up to a multiple of 16, zero after
// d. Error: of unit 2 roundings; of a q_j one where a rounding decides; of offset d roundings of
// its terms.
using Int8QueryKernel = void(const float* weights, const float* center, size_t d, int largest_pair,
                             int8_t* bytes, float* unit, float* offset);

// A query as the scans of codes by integers see it, relative to the cell that is scanned.
struct CodedQuery {
    const void* operand;  // tables of scan_bits and scan_product4, bytes of scan_int8
    float unit, offset;
    float shift;  // the part of the key that the cell's vectors share
    float reach;  // how much of a code's error is allowed for
    float threshold;
};

// Lower bounds of keys, shift - reach * error + (term + scale * (unit * sum + offset)), of
// `query_count` queries and `block_count` blocks: those that are at most the query's threshold and
// allowed by masks[block] are appended to hits, as by ScanKernel. scan_bits: one-bit codes, sum of
// table entries, code->dim at most 32 * kMostLookupLines. scan_int8: RangeInt8 with factors, sum of
// products, scale 1; pairs of the query's bytes are at most the table's int8_pair. scan_product4:
// sum of table entries, scale 1, no term and no error; code->words at most kMostLookupLines. Sums
// are exact. Error: 5 roundings of the terms.
using ScanCodesKernel = size_t(const CodeView* code, const void* blocks, size_t block_count,
                               const CodedQuery* queries, size_t query_count, const uint16_t* masks,
                               Hit* hits);

// A fast rotation of x in place: factors are kRotationRounds + 1 lines of d, see fast_rotation.h.
// inverse: 1 undoes it, 0 does it. Error: 4 log2(d) + 12 roundings of values as long as x.
constexpr size_t kRotationRounds = 4;
using RotateKernel = void(const float* factors, size_t d, int inverse, float* x);

// The key of a query and one vector's code that lies by itself, word after word: the bits that the
// pair kernel gives for the decoded vector.
using RowKernel = float(const CodeView* code, const uint32_t* row, const float* query);

// The same of a RangeInt8 code that is a lane of a block.
using LaneKernel = float(const CodeView* code, const uint32_t* block, size_t lane,
                         const float* query);

// Decodes one lane of a block: the bits of the decode operation. out: d.
using LaneDecodeKernel = void(const CodeView* code, const uint32_t* block, size_t lane, float* out);

// Output pixels of a convolution (ConvView): pixels[p] is the first input value of the pixel that
// goes to out[p], `channels` values. added: as many for each pixel, or null. Sums are in the order
// of pieces and values. Of a depthwise one up to a multiple of 16 channels may be read. NaN is
// clamped to `low`. Error: piece_count * length + 3 roundings.
using ConvKernel = void(const ConvView* conv, const float* const* pixels, const float* const* added,
                        float* const* out, size_t pixel_count);
using DepthwiseKernel = void(const DepthwiseView* conv, const float* const* pixels,
                             const float* const* added, float* const* out, size_t pixel_count);

// Output pixels of a pooling (PoolView), as ConvKernel. Error: of the mean piece_count roundings.
using PoolKernel = void(const PoolView* pool, const float* const* pixels, float* const* out,
                        size_t pixel_count);

struct KernelTable {
    const char* isa = "";
    int int8_pair = 128;  // the largest pair of a query's bytes whose sums scan_int8 holds
#define OP(name, type, ops, bytes, peak) type* name = nullptr;
#include <nearcell/kernels/ops.def>
#undef OP
};

// Every operation in plain C++ double precision: the oracle of the tests, never used for search.
const KernelTable& reference_table();

// The decode operation of a kind of code.
inline DecodeKernel* decode_kernel(const KernelTable& table, CodeKind kind) {
    switch (kind) {
        case CodeKind::Float32: return table.decode_float32;
        case CodeKind::Float16: return table.decode_float16;
        case CodeKind::BFloat16: return table.decode_bfloat16;
        case CodeKind::RangeInt8: return table.decode_range_int8;
        case CodeKind::ScaledInt8: return table.decode_scaled_int8;
        case CodeKind::Product8: return table.decode_product8;
        case CodeKind::Product4: return table.decode_product4;
        case CodeKind::Bits: return table.decode_bits;
    }
    return nullptr;
}

}  // namespace nearcell
