// The end of a search by byte tiles: lists are narrowed once more, what is left of each query is
// scored by the codes, and the best, with those that were held before, are put in order. One block
// a query, with some candidates more than are wanted. Codes lie in rows (cell_layout.cuh): of
// up to 32 candidates and 128 dimensions the block reads them at once, so that it waits once,
// decodes them together, and a thread each adds up one, in the order of dimensions, as scans do.
// Cost: reading codes from anywhere, from HBM; of few queries waiting for memory, for barriers, and
// for sums of which each term waits for the last.
#pragma once

#include <nearcell/gpu/kernels/four_values.cuh>
#include <nearcell/gpu/kernels/narrow_lists.cuh>
#include <nearcell/gpu/kernels/product_bound.cuh>
#include <nearcell/gpu/kernels/score_candidates.cuh>
#include <nearcell/gpu/kernels/select_keys.cuh>

namespace nearcell::gpu {

// Candidates that are scored at once, words of their codes, and dimensions of a slice of them.
constexpr unsigned kStaged = 32, kStagedWords = 2048, kStagedDims = 128;
constexpr unsigned kStagedValues = 17 * (kStagedDims + 1);
constexpr unsigned kRowLanes = 8;       // that read or score a row together
constexpr unsigned kSettledKeys = 256;  // more than so many are not put in order

struct Settling {
    CodeScoring scoring;
    BestLists best;
    float* limits;
    unsigned* wanted;
    unsigned long long* scored;
    unsigned long long* crowded;  // counts queries that had no room; may be null
    bool by_lanes;  // Float32 codes: keys may have the bits of another order of dimensions
};

// The words of a code that some dimensions are in, from a multiple of four on where rows begin at
// multiples of four words.
struct WordRange {
    unsigned begin, end;
};
constexpr unsigned dims_per_word(CodeKind kind) {
    if (kind == CodeKind::Float32) return 1;
    return kind == CodeKind::Float16 || kind == CodeKind::BFloat16 ? 2 : 4;
}
template <CodeKind kKind>
SIMT_DEVICE WordRange words_of_dims(const CodeView& code, unsigned begin, unsigned end) {
    if constexpr (is_product(kKind)) {
        constexpr unsigned kPerWord = 32 / product_bits(kKind);
        return {subspace_of(code, begin) / kPerWord / 4 * 4,
                subspace_of(code, end - 1) / kPerWord + 1};
    }
    constexpr unsigned kPerWord = dims_per_word(kKind);
    return {begin / kPerWord, (end + kPerWord - 1) / kPerWord};
}
// As many as words_of_dims can be of kStagedDims.
template <CodeKind kKind>
SIMT_DEVICE unsigned most_words(const CodeView& code) {
    constexpr unsigned kPerWord =
        is_product(kKind) ? 32 / product_bits(kKind) : dims_per_word(kKind);
    return min(static_cast<unsigned>(code.words),
               kStagedDims / kPerWord + (is_product(kKind) ? 4 : 0));
}

// Some words of so many codes, `stride` from one to the next.
struct StagedCodes {
    uint32_t* codes;
    float* scales;  // of ScaledInt8
    unsigned stride, count;
    WordRange words;
};

// They are read by kRowLanes lanes each.
template <CodeKind kKind>
SIMT_DEVICE void stage_codes(const StoredCodes& stored, const unsigned* places,
                             const StagedCodes& to) {
    const auto words = static_cast<unsigned>(stored.code.words);
    const unsigned lane = threadIdx.x % kRowLanes, count = to.words.end - to.words.begin;
    for (unsigned i = threadIdx.x / kRowLanes; i < to.count; i += blockDim.x / kRowLanes) {
        const uint32_t* const code = stored.blocks + size_t{places[i]} * words + to.words.begin;
        uint32_t* const row = to.codes + i * to.stride;
        if (kKind == CodeKind::ScaledInt8 && lane == 0)
            to.scales[i] = __uint_as_float(code[words - 1 - to.words.begin]);
        if (words % 4 != 0) {
            for (unsigned w = lane; w < count; w += kRowLanes)
                row[w] = code[w];
            continue;
        }
        for (unsigned w = lane * 4; w < count; w += kRowLanes * 4) {
            const uint4 four = simt::load16(reinterpret_cast<const uint4*>(code + w));
            row[w] = four.x, row[w + 1] = four.y, row[w + 2] = four.z, row[w + 3] = four.w;
        }
    }
}

// What the residuals of candidates are added to, dimensions [begin, end), on its way to where their
// values will be, whose rows have `row` values.
SIMT_DEVICE void stage_bases(const CodeScoring& job, const unsigned* places, unsigned count,
                             unsigned begin, unsigned end, unsigned row, float* to) {
    const unsigned lane = threadIdx.x % kRowLanes;
    for (unsigned i = threadIdx.x / kRowLanes; i < count; i += blockDim.x / kRowLanes) {
        const float* const base = base_of_cell(job.stored, job.cell_of_block[places[i] / kBlock]);
        for (unsigned j = begin + lane; j < end; j += kRowLanes)
            simt::cp_async<4>(to + i * row + j - begin, base + j);
    }
    simt::cp_async_commit();
}

// Dimensions [begin, end) of all of them to `to`, added to what is there for residuals. A warp
// takes 32 dimensions of some candidates: their entries of codebooks are asked for together.
template <CodeKind kKind>
SIMT_DEVICE void decode_staged(const CodeView& code, const StagedCodes& staged, bool residual,
                               unsigned begin, unsigned end, unsigned row, float* to) {
    constexpr unsigned kAtOnce = is_product(kKind) ? 4 : 1;
    const unsigned warp = threadIdx.x / 32, warps = blockDim.x / 32;
    for (unsigned j = begin + threadIdx.x % 32; j < end; j += 32) {
        const auto at = dimension_data<kKind>(code, j);
        for (unsigned first = warp; first < staged.count; first += kAtOnce * warps) {
            float x[kAtOnce];
            SIMT_UNROLL
            for (unsigned n = 0; n < kAtOnce; ++n) {
                const unsigned i = min(first + n * warps, staged.count - 1);
                const CodeWords words{staged.codes + i * staged.stride, staged.words.begin};
                x[n] = row_value<kKind>(code, at, words, j, staged.scales + i);
            }
            SIMT_UNROLL
            for (unsigned n = 0; n < kAtOnce; ++n) {
                const unsigned i = first + n * warps;
                if (i >= staged.count) continue;
                float& value = to[i * row + j - begin];
                value = residual ? __fadd_rn(x[n], value) : x[n];
            }
        }
    }
}

// The sum goes on with so many terms. What it is of is read some at a time, before it waits.
template <KeySum kSum>
SIMT_DEVICE float add_staged(float sum, const float* x, const float* query, unsigned count) {
    constexpr unsigned kAhead = 8;
    unsigned j = 0;
    for (; j + kAhead <= count; j += kAhead) {
        float of_x[kAhead], of_query[kAhead];
        SIMT_UNROLL
        for (unsigned i = 0; i < kAhead; ++i)
            of_x[i] = x[j + i], of_query[i] = query[j + i];
        SIMT_UNROLL
        for (unsigned i = 0; i < kAhead; ++i)
            sum = add_term<kSum>(sum, of_x[i], of_query[i]);
    }
    for (; j < count; ++j)
        sum = add_term<kSum>(sum, x[j], query[j]);
    return sum;
}

// The candidates of a query by their codes.
template <CodeKind kKind, KeySum kSum>
SIMT_DEVICE void score_codes(const CodeScoring& job, unsigned count, const unsigned* places,
                             uint64_t* keys) {
    static_assert(kSelectThreads >= kStagedDims, "a thread has one value of the query");
    SIMT_SHARED(codes, uint32_t[kStagedWords]);
    SIMT_SHARED(scales, float[kStaged]);
    SIMT_SHARED(values, float[kStagedValues]);  // and, behind those of candidates, of the query
    const CodeView& code = job.stored.code;
    const auto dim = static_cast<unsigned>(code.dim);
    const unsigned stride = most_words<kKind>(code) | 1, row = min(dim, kStagedDims) | 1;
    const float* const query = job.queries + blockIdx.x * size_t{dim};
    const bool residual = job.stored.residual;
    const unsigned each = min(min(kStaged, kStagedWords / stride), kStagedValues / row - 1);
    for (unsigned first = blockIdx.y * each; first < count; first += gridDim.y * each) {
        const unsigned some = min(each, count - first);
        const bool adds = threadIdx.x < some;
        const unsigned place = adds ? places[first + threadIdx.x] : 0;
        const unsigned tag = adds ? job.stored.tags[place] : 0;
        float sum = 0;
        for (unsigned begin = 0; begin < dim; begin += kStagedDims) {
            const unsigned end = min(begin + kStagedDims, dim), own = begin + threadIdx.x;
            const StagedCodes staged{codes, scales, stride, some,
                                     words_of_dims<kKind>(code, begin, end)};
            const float of_query = own < end ? query[own] : 0;
            if (residual) {
                if (first + begin > 0) __syncthreads();  // all have done with the last values
                stage_bases(job, places + first, some, begin, end, row, values);
            }
            stage_codes<kKind>(job.stored, places + first, staged);
            if (residual) simt::cp_async_wait<0>();
            __syncthreads();  // codes are there, and all have done with the last values
            decode_staged<kKind>(code, staged, residual, begin, end, row, values);
            if (own < end) values[some * row + threadIdx.x] = of_query;
            __syncthreads();
            if (adds) {
                sum = add_staged<kSum>(sum, values + threadIdx.x * row, values + some * row,
                                       end - begin);
            }
        }
        if (!adds) continue;
        const float key = kSum == KeySum::Dot ? __fsub_rn(0.0f, sum) : sum;
        keys[first + threadIdx.x] = pack_key(key, tag);
    }
}

// The same where codes are float32, by eight lanes each.
template <KeySum kSum>
SIMT_DEVICE void score_by_lanes(const CodeScoring& job, unsigned count, const unsigned* places,
                                uint64_t* keys) {
    constexpr unsigned kStep = kRowLanes * 4, kAhead = 3;  // what is read at once
    const size_t dim = job.stored.code.dim;
    const float* const query = job.queries + blockIdx.x * dim;
    const auto* const rows = reinterpret_cast<const float*>(job.stored.blocks);
    const unsigned step = blockDim.x / kRowLanes;
    for (unsigned first = threadIdx.x / 32 * (32 / kRowLanes); first < count; first += step) {
        const unsigned i = first + threadIdx.x % 32 / kRowLanes;  // whole warps go round
        const unsigned place = places[min(i, count - 1)], tag = job.stored.tags[place];
        const float* const row = rows + place * dim;
        float sum = 0;
        for (size_t j = threadIdx.x % kRowLanes * 4; j < dim; j += kAhead * kStep) {
            float4 x[kAhead], q[kAhead];
            SIMT_UNROLL
            for (unsigned ahead = 0; ahead < kAhead; ++ahead) {
                x[ahead] = four_values(row, j + ahead * kStep, dim);
                q[ahead] = four_values(query, j + ahead * kStep, dim);
            }
            SIMT_UNROLL
            for (unsigned ahead = 0; ahead < kAhead; ++ahead) {
                sum = add_term<kSum>(sum, x[ahead].x, q[ahead].x);
                sum = add_term<kSum>(sum, x[ahead].y, q[ahead].y);
                sum = add_term<kSum>(sum, x[ahead].z, q[ahead].z);
                sum = add_term<kSum>(sum, x[ahead].w, q[ahead].w);
            }
        }
        sum = sum_of_group(sum, kRowLanes);
        if (i >= count || threadIdx.x % kRowLanes != 0) continue;
        keys[i] = pack_key(kSum == KeySum::Dot ? 0.0f - sum : sum, tag);
    }
}

// A query of which the host will ask again. Until then what looks at its best finds cell 0.
SIMT_DEVICE void leave_crowded(const Settling& job) {
    if (job.crowded == nullptr) return;
    if (threadIdx.x == 0) atomicAdd(job.crowded, 1ull);
    const size_t first = blockIdx.x * job.best.k;
    for (size_t i = threadIdx.x; i < job.best.k; i += blockDim.x) {
        job.best.keys[first + i] = pack_key(__uint_as_float(0x7f800000u), 0);
        job.best.places[first + i] = 0;
    }
}

template <CodeKind kKind, KeySum kSum>
__global__ void __launch_bounds__(kMostSelectThreads, 1) settle_lists(Settling job) {
    simt::wait_for_previous();
    const CandidateLists& lists = job.scoring.lists;
    const unsigned held = job.best.held[blockIdx.x];
    const NarrowedList left = narrow_list(lists, job.best.k, job.limits, job.wanted);
    __syncthreads();  // what is left is there
    if (left.wanted > lists.room) return leave_crowded(job);
    const unsigned count = left.count;
    if (threadIdx.x == 0) atomicAdd(job.scored, static_cast<unsigned long long>(count));
    const unsigned* const places = lists.places + blockIdx.x * lists.room;
    uint64_t* const keys = lists.keys + blockIdx.x * lists.room;
    if (kKind == CodeKind::Float32 && job.by_lanes)
        score_by_lanes<kSum>(job.scoring, count, places, keys);
    else
        score_codes<kKind, kSum>(job.scoring, count, places, keys);
    __syncthreads();  // all keys are there
    if (merge_candidates(lists, count, held, job.best, job.limits)) return;
    __syncthreads();
    if (job.best.k <= kSettledKeys) sort_best<kSettledKeys>(job.best);
}

// Only scores. Queries of which more were found than there is room for are left as they are.
template <CodeKind kKind, KeySum kSum>
__global__ void __launch_bounds__(kSelectThreads, 7) score_in_rows(CodeScoring job) {
    const CandidateLists& lists = job.lists;
    const unsigned count = lists.counts[blockIdx.x];
    if (count > lists.room) return;
    score_codes<kKind, kSum>(job, count, lists.places + blockIdx.x * lists.room,
                             lists.keys + blockIdx.x * lists.room);
}

using SettleKernel = void (*)(Settling);

struct PickSettling {
    Metric metric;
    template <CodeKind kKind>
    SettleKernel operator()() const {
        if constexpr (kKind != CodeKind::Bits) {
            return is_similarity(metric) ? settle_lists<kKind, KeySum::Dot>
                                         : settle_lists<kKind, KeySum::L2>;
        }
        return nullptr;
    }
};
struct PickScoring {
    Metric metric;
    template <CodeKind kKind>
    CodeScoringKernel operator()() const {
        if constexpr (kKind != CodeKind::Bits) {
            return is_similarity(metric) ? score_in_rows<kKind, KeySum::Dot>
                                         : score_in_rows<kKind, KeySum::L2>;
        }
        return nullptr;
    }
};
// kSelectThreads threads a block, settle_lists up to kMostSelectThreads. Not for L1; null for Bits.
inline CodeScoringKernel score_in_rows_kernel(CodeKind kind, Metric metric) {
    return pick_kind(kind, PickScoring{metric});
}
inline SettleKernel settle_lists_kernel(CodeKind kind, Metric metric) {
    return pick_kind(kind, PickSettling{metric});
}

}  // namespace nearcell::gpu
