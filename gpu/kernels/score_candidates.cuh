// Candidates of which only places are known get their keys: beside each place the packed key that
// selections compare. By the codes themselves, with the bits of scan_chunks.cuh, for what a filter
// let pass; or by the rows of a re-rank store, with the bits of the CPU's pair operations. A few
// per thousand of what a scan looks at: bound by reading codes or rows from anywhere in HBM.
// Queries of which more were found than there is room for are left as they are: the host asks
// again.
//
// Parity and compute-sanitizer on an H100: bench/results/gpu-h100.txt.
#pragma once

#include <nearcell/gpu/kernels/decode_eight.cuh>
#include <nearcell/gpu/kernels/scan_chunks.cuh>

namespace nearcell::gpu {

constexpr unsigned kScoreThreads = 128;
constexpr unsigned kScoreRows = kScoreThreads / 32;  // candidates of a block at a time, by rows

struct CodeScoring {
    StoredCodes stored;
    const unsigned*
        cell_of_block;  // of each block of the store; null where codes are not residuals
    CandidateLists lists;
    const float* queries;  // code.dim values each
};

// The key of a query and the vector at a place, whose code is at `words`.
template <CodeKind kKind, KeySum kSum>
SIMT_DEVICE float key_by_code(const CodeScoring& job, unsigned place, const uint32_t* words,
                              const float* query) {
    const CodeView& code = job.stored.code;
    const float* const base =
        job.stored.residual ? base_of_cell(job.stored, job.cell_of_block[place / kBlock]) : nullptr;
    float sum = 0;
    Decoder<kKind> decoder(code, words);
    decoder.decode(0, static_cast<unsigned>(code.dim), [&](unsigned j, float x) {
        if (base != nullptr) x = __fadd_rn(x, base[j]);
        sum = add_term<kSum>(sum, x, query[j]);
    });
    return key_of_sum<kKind, kSum>(code, words, sum);
}

// A thread a candidate; blocks in x are queries, those in y share their candidates.
template <CodeKind kKind, KeySum kSum>
__global__ void __launch_bounds__(kScoreThreads, chunk_blocks(kKind))
    score_by_codes(CodeScoring job) {
    const size_t query = blockIdx.x, count = job.lists.counts[query];
    if (count > job.lists.room) return;
    const float* const values = job.queries + query * job.stored.code.dim;
    const size_t step = size_t{gridDim.y} * kScoreThreads;
    for (size_t i = blockIdx.y * size_t{kScoreThreads} + threadIdx.x; i < count; i += step) {
        const unsigned place = job.lists.places[query * job.lists.room + i];
        const float key = key_by_code<kKind, kSum>(job, place, words_of(job.stored, place), values);
        job.lists.keys[query * job.lists.room + i] = pack_key(key, job.stored.tags[place]);
    }
}

struct RowScoring {
    CodeView code;         // of the rows, with device pointers
    const uint32_t* rows;  // code.words words of each place, one after another
    const unsigned* tags;  // of each place
    CandidateLists lists;
    const float* queries;  // code.dim values each
};

// Words of a code, from `first` on.
struct CodeWords {
    const uint32_t* words;
    unsigned first = 0;

    SIMT_DEVICE uint32_t operator[](unsigned w) const { return words[w - first]; }
};

// Value j of a row, with the bits of its Decoder; `at` is the dimension's data, *scale the row's.
// Not for Bits.
template <CodeKind kKind>
SIMT_DEVICE float row_value(const CodeView& code, const DimensionData<kKind>& at,
                            const CodeWords& row, unsigned j, const float* scale) {
    if constexpr (kKind == CodeKind::Float32) return __uint_as_float(row[j]);
    if constexpr (kKind == CodeKind::Float16 || kKind == CodeKind::BFloat16) {
        const unsigned half = row[j / 2] >> (j % 2 * 16) & 0xffffu;
        return kKind == CodeKind::Float16 ? Float16Value::of(half) : BFloat16Value::of(half);
    }
    if constexpr (is_product(kKind)) {
        constexpr unsigned kMask = (1u << product_bits(kKind)) - 1;
        return code.codebooks[at.base + (row[at.word] >> at.shift & kMask) * at.width];
    }
    const unsigned byte = row[j / 4] >> (j % 4 * 8) & 0xffu;
    if constexpr (kKind == CodeKind::ScaledInt8)
        return __fmul_rn(__fsub_rn(static_cast<float>(byte ^ 0x80u), 128.0f), *scale);
    if constexpr (kKind == CodeKind::RangeInt8)
        return __fmaf_rn(static_cast<float>(byte), at.step, at.offset);
    return 0;
}

// The 32 lanes of cpu/kernels_pair.cpp are those of a warp, added by the same tree, in all lanes.
SIMT_DEVICE float sum_of_lanes(float sum) {
    for (int lanes = 16; lanes > 0; lanes /= 2)
        sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, lanes));
    return sum;
}

// The key of a query and a row, in all lanes of the warp that computes it.
template <CodeKind kKind, KeySum kSum>
SIMT_DEVICE float key_by_row(const CodeView& code, const uint32_t* words, const float* query) {
    const CodeWords row{words};
    float sum = 0;
    for (unsigned j = threadIdx.x % 32; j < code.dim; j += 32) {
        const auto at = dimension_data<kKind>(code, j);
        sum = add_term<kSum>(sum, row_value<kKind>(code, at, row, j, nullptr), query[j]);
    }
    sum = sum_of_lanes(sum);
    return kSum == KeySum::Dot ? -sum : sum;
}

// A warp a candidate.
template <CodeKind kKind, KeySum kSum>
__global__ void __launch_bounds__(kScoreThreads) score_by_rows(RowScoring job) {
    simt::wait_for_previous();
    const size_t query = blockIdx.x, count = job.lists.counts[query];
    if (count > job.lists.room) return;
    const float* const values = job.queries + query * job.code.dim;
    const size_t step = size_t{gridDim.y} * kScoreRows;
    for (size_t i = blockIdx.y * size_t{kScoreRows} + threadIdx.x / 32; i < count; i += step) {
        const unsigned place = job.lists.places[query * job.lists.room + i];
        const float key =
            key_by_row<kKind, kSum>(job.code, job.rows + place * job.code.words, values);
        if (threadIdx.x % 32 == 0)
            job.lists.keys[query * job.lists.room + i] = pack_key(key, job.tags[place]);
    }
}

using CodeScoringKernel = void (*)(CodeScoring);
using RowScoringKernel = void (*)(RowScoring);

// The kernels for a kind of codes; kScoreThreads threads a block.
inline CodeScoringKernel score_by_codes_kernel(CodeKind kind, Metric metric) {
    return pick_kind(kind, [metric]<CodeKind kKind>() -> CodeScoringKernel {
        if (is_similarity(metric)) return score_by_codes<kKind, KeySum::Dot>;
        return metric == Metric::L1 ? score_by_codes<kKind, KeySum::L1>
                                    : score_by_codes<kKind, KeySum::L2>;
    });
}

// As pick_kind, of the kinds that re-rank stores have; null for others.
template <class Pick>
auto pick_row_kind(CodeKind kind, const Pick& pick)
    -> decltype(pick.template operator()<CodeKind::Float32>()) {
    switch (kind) {
        case CodeKind::Float32: return pick.template operator()<CodeKind::Float32>();
        case CodeKind::Float16: return pick.template operator()<CodeKind::Float16>();
        case CodeKind::BFloat16: return pick.template operator()<CodeKind::BFloat16>();
        case CodeKind::RangeInt8: return pick.template operator()<CodeKind::RangeInt8>();
        default: return nullptr;
    }
}

struct PickRowScoring {
    Metric metric;
    template <CodeKind kKind>
    RowScoringKernel operator()() const {
        if (is_similarity(metric)) return score_by_rows<kKind, KeySum::Dot>;
        return metric == Metric::L1 ? score_by_rows<kKind, KeySum::L1>
                                    : score_by_rows<kKind, KeySum::L2>;
    }
};
inline RowScoringKernel score_by_rows_kernel(CodeKind kind, Metric metric) {
    return pick_row_kind(kind, PickRowScoring{metric});
}

}  // namespace nearcell::gpu
