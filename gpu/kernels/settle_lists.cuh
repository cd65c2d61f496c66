// The end of a search by byte tiles: lists are narrowed once more, what is left of each query is
// scored by the codes, and the best, with those that were held before, are put in order. One block
// a query, with some candidates more than are wanted. Codes lie in rows (cell_layout.cuh): of
// up to 32 candidates and 128 dimensions the block reads them at once, so that it waits once,
// decodes them together, and a thread each adds up one, in the order of dimensions, as scans do;
// 4-bit codes are looked up while they are added. Cost: reading codes from anywhere, from HBM; of
// few queries waiting for memory, for barriers, and for sums of which each term waits for the last.
#pragma once

#include <nearcell/gpu/kernels/narrow_lists.cuh>
#include <nearcell/gpu/kernels/score_candidates.cuh>
#include <nearcell/gpu/kernels/select_keys.cuh>

namespace nearcell::gpu {

// Candidates that are scored at once, up to so many words of their codes, and dimensions of a slice
// of them.
constexpr unsigned kStaged = 32, kMostStagedWords = 2048, kStagedDims = 128;
constexpr unsigned kRowLanes = 8;       // that read or score a row together
constexpr unsigned kSettledKeys = 256;  // more than so many are not put in order

// Blocks that a processor's registers shall have room for; of few queries they are larger.
constexpr int kSettleBlocks = 7;
static_assert(kSettleBlocks * kSelectThreads >= kMostSelectThreads);

struct Settling {
    CodeScoring scoring;
    BestLists best;
    float* limits;
    unsigned* wanted;
    unsigned long long* scored;
    unsigned long long* crowded;  // counts queries that had no room; may be null
};

// Values from one candidate to the next, an odd multiple of four: the lanes of a load of 16 bytes
// meet no bank twice.
constexpr unsigned staged_row(unsigned dims) { return ((dims + 3) / 4 | 1) * 4; }
constexpr unsigned kStagedValues = 17 * staged_row(kStagedDims);
struct alignas(16) StagedValues {
    float of[kStagedValues];  // of candidates, and behind them of the query
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
constexpr unsigned most_words() {
    constexpr unsigned kPerWord =
        is_product(kKind) ? 32 / product_bits(kKind) : dims_per_word(kKind);
    return kStagedDims / kPerWord + (is_product(kKind) ? 4 : 0);
}
template <CodeKind kKind>
struct alignas(16) StagedWords {
    static constexpr unsigned kAll = kStaged * most_words<kKind>();
    static constexpr unsigned kCount = kAll < kMostStagedWords ? kAll : kMostStagedWords;
    uint32_t of[kCount];
};

// Codebooks of 4 bits: those of kStagedDims dimensions, where subspaces are up to four wide. In L1
// the lanes of a warp, each of another subspace, would look at a line each.
constexpr unsigned kMostEntryWidth = 4;
template <CodeKind kKind>
struct alignas(16) StagedEntries {
    static constexpr unsigned kCount =
        kKind == CodeKind::Product4 ? 16 * (kStagedDims + kMostEntryWidth) : 4;
    float of[kCount];
};

// Some words of so many codes, `stride` from one to the next.
struct StagedCodes {
    uint32_t* codes;
    float* scales;  // of ScaledInt8
    unsigned stride, count;
    WordRange words;
};

// Starts to copy values [begin, end) of a row by kRowLanes lanes; where rows begin at multiples of
// four values, and `begin` is one, four at a time, and then also what fills the last four.
SIMT_DEVICE void stage_row(const void* row, unsigned begin, unsigned end, bool by_fours, void* to) {
    const auto* const from = static_cast<const uint32_t*>(row);
    auto* const words = static_cast<uint32_t*>(to);
    const unsigned lane = threadIdx.x % kRowLanes;
    if (by_fours) {
        SIMT_NO_UNROLL
        for (unsigned i = begin + lane * 4; i < end; i += kRowLanes * 4)
            simt::cp_async<16>(words + i - begin, from + i);
    } else {
        SIMT_NO_UNROLL
        for (unsigned i = begin + lane; i < end; i += kRowLanes)
            simt::cp_async<4>(words + i - begin, from + i);
    }
}

// Starts to copy codes.
template <CodeKind kKind>
SIMT_DEVICE void stage_codes(const StoredCodes& stored, const unsigned* places,
                             const StagedCodes& to) {
    const auto words = static_cast<unsigned>(stored.code.words);
    for (unsigned i = threadIdx.x / kRowLanes; i < to.count; i += blockDim.x / kRowLanes) {
        const uint32_t* const code = stored.blocks + size_t{places[i]} * words;
        stage_row(code, to.words.begin, to.words.end, words % 4 == 0, to.codes + i * to.stride);
        if (kKind == CodeKind::ScaledInt8 && threadIdx.x % kRowLanes == 0)
            simt::cp_async<4>(to.scales + i, code + words - 1);
    }
}

template <CodeKind kKind>
SIMT_DEVICE bool stages_entries(const CodeView& code) {
    return kKind == CodeKind::Product4 && code.sub_width != 0 && code.sub_width <= kMostEntryWidth;
}
// Values of codebooks before those of dimension `begin`.
SIMT_DEVICE unsigned entries_before(const CodeView& code, unsigned begin) {
    return subspace_of(code, begin) * static_cast<unsigned>(code.sub_width) * 16;
}
// Starts to copy the codebooks of the kStagedDims dimensions from `begin` on, where they are
// staged.
template <CodeKind kKind>
SIMT_DEVICE void stage_entries(const CodeView& code, unsigned begin, StagedEntries<kKind>& to) {
    if (!stages_entries<kKind>(code)) return;
    const unsigned end = min(begin + kStagedDims, static_cast<unsigned>(code.dim)),
                   from = entries_before(code, begin),
                   last =
                       entries_before(code, end - 1) + static_cast<unsigned>(code.sub_width) * 16;
    SIMT_NO_UNROLL
    for (unsigned i = from + threadIdx.x * 4; i < last; i += blockDim.x * 4)
        simt::cp_async<16>(to.of + i - from, code.codebooks + i);
    simt::cp_async_commit();
}

// Starts to copy what the residuals of candidates are added to, dimensions [begin, end), to where
// their values will be, whose rows have `row` values.
SIMT_DEVICE void stage_bases(const CodeScoring& job, const unsigned* places, unsigned count,
                             unsigned begin, unsigned end, unsigned row, float* to) {
    for (unsigned i = threadIdx.x / kRowLanes; i < count; i += blockDim.x / kRowLanes) {
        const float* const base = base_of_cell(job.stored, job.cell_of_block[places[i] / kBlock]);
        stage_row(base, begin, end, job.stored.code.dim % 4 == 0, to + i * row);
    }
}

// Dimensions [begin, end) of all of them to `to`, added to what is there for residuals. A warp
// takes 32 dimensions of some candidates: their entries of codebooks are asked for together.
// `skipped`: values of codebooks that are not there, before others.
template <CodeKind kKind>
SIMT_DEVICE void decode_staged(const CodeView& code, unsigned skipped, const StagedCodes& staged,
                               bool residual, unsigned begin, unsigned end, unsigned row,
                               float* to) {
    constexpr unsigned kAtOnce = is_product(kKind) ? 4 : 1;
    const unsigned warp = threadIdx.x / 32, warps = blockDim.x / 32;
    for (unsigned j = begin + threadIdx.x % 32; j < end; j += 32) {
        auto at = dimension_data<kKind>(code, j);
        if constexpr (is_product(kKind)) at.base -= skipped;
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

// Dimensions 4g to 4g + 3 of the eight subspaces of a word, whose entries begin at `entries`.
template <unsigned kWidth>
SIMT_DEVICE float4 four_of_word(const float* entries, uint32_t word, unsigned g) {
    const auto entry = [&](unsigned m) {
        return entries + (m * 16 + (word >> 4 * m & 15u)) * kWidth;
    };
    if constexpr (kWidth == 4) return simt::load16(reinterpret_cast<const float4*>(entry(g)));
    if constexpr (kWidth == 2) {
        const auto low = *reinterpret_cast<const float2*>(entry(2 * g));
        const auto high = *reinterpret_cast<const float2*>(entry(2 * g + 1));
        return make_float4(low.x, low.y, high.x, high.y);
    }
    return make_float4(*entry(4 * g), *entry(4 * g + 1), *entry(4 * g + 2), *entry(4 * g + 3));
}

// Codebooks from where they are staged, if they are.
template <CodeKind kKind>
SIMT_DEVICE void decode_codes(const CodeScoring& job, const StagedEntries<kKind>& entries,
                              const StagedCodes& staged, unsigned begin, unsigned end, unsigned row,
                              float* to) {
    CodeView code = job.stored.code;
    unsigned skipped = 0;
    if (stages_entries<kKind>(code)) {
        code.codebooks = entries.of;
        skipped = entries_before(code, begin);
    }
    decode_staged<kKind>(code, skipped, staged, job.stored.residual, begin, end, row, to);
}

template <KeySum kSum>
SIMT_DEVICE float add_four(float sum, const float4& x, const float4& query) {
    sum = add_term<kSum>(sum, x.x, query.x);
    sum = add_term<kSum>(sum, x.y, query.y);
    sum = add_term<kSum>(sum, x.z, query.z);
    return add_term<kSum>(sum, x.w, query.w);
}

// The sum goes on with so many terms. What it is of is read some at a time, before it waits.
template <KeySum kSum>
SIMT_DEVICE float add_staged(float sum, const float* x, const float* query, unsigned count) {
    constexpr unsigned kAhead = 2;
    unsigned j = 0;
    for (; j + 4 * kAhead <= count; j += 4 * kAhead) {
        float4 of_x[kAhead], of_query[kAhead];
        SIMT_UNROLL
        for (unsigned i = 0; i < kAhead; ++i) {
            of_x[i] = simt::load16(reinterpret_cast<const float4*>(x + j) + i);
            of_query[i] = simt::load16(reinterpret_cast<const float4*>(query + j) + i);
        }
        SIMT_UNROLL
        for (unsigned i = 0; i < kAhead; ++i)
            sum = add_four<kSum>(sum, of_x[i], of_query[i]);
    }
    for (; j < count; ++j)
        sum = add_term<kSum>(sum, x[j], query[j]);
    return sum;
}

// Whether 4-bit codes are added up by words: subspaces of 1, 2 or 4 dimensions, all of the same.
template <CodeKind kKind>
SIMT_DEVICE bool adds_words(const CodeView& code) {
    return stages_entries<kKind>(code) && code.sub_width != 3 && code.dim % 4 == 0;
}

// The words of kStagedDims dimensions of a code, or of as many as there are.
struct SliceWords {
    uint32_t of[kStagedDims / 8];
};
SIMT_DEVICE SliceWords read_slice(const uint32_t* from, unsigned count, bool by_fours) {
    SliceWords words;
    SIMT_UNROLL
    for (unsigned w = 0; w < kStagedDims / 8; w += 4) {
        const bool is_four = by_fours && w < count;
        const uint4 four = is_four ? simt::load16(reinterpret_cast<const uint4*>(from + w))
                                   : make_uint4(0, 0, 0, 0);
        const unsigned of_four[] = {four.x, four.y, four.z, four.w};
        SIMT_UNROLL
        for (unsigned i = 0; i < 4; ++i)
            words.of[w + i] = !by_fours && w + i < count ? from[w + i] : of_four[i];
    }
    return words;
}

// As add_staged, of a candidate whose values are those of its code's words, added to `base`, if it
// is not null. The lanes of a warp, each with another candidate, look into the same codebook:
// values that they want are the same, or (of up to two dimensions) in other banks.
template <KeySum kSum, unsigned kWidth>
SIMT_DEVICE float add_words_of(float sum, const float* entries, const SliceWords& words,
                               const float* base, const float* query, unsigned dims) {
    constexpr unsigned kDims = 8 * kWidth;
    SIMT_UNROLL
    for (unsigned w = 0; w < kStagedDims / kDims; ++w) {
        SIMT_UNROLL
        for (unsigned g = 0; g < kDims / 4; ++g) {
            const unsigned j = w * kDims + 4 * g;
            if (j >= dims) continue;
            float4 x = four_of_word<kWidth>(entries + w * kDims * 16, words.of[w], g);
            if (base != nullptr) {
                const float4 y = simt::load16(reinterpret_cast<const float4*>(base + j));
                x = make_float4(__fadd_rn(x.x, y.x), __fadd_rn(x.y, y.y), __fadd_rn(x.z, y.z),
                                __fadd_rn(x.w, y.w));
            }
            sum = add_four<kSum>(sum, x, simt::load16(reinterpret_cast<const float4*>(query + j)));
        }
    }
    return sum;
}
template <KeySum kSum>
SIMT_DEVICE float add_words(float sum, const CodeView& code, const float* entries,
                            const SliceWords& words, const float* base, const float* query,
                            unsigned dims) {
    if (code.sub_width == 1) return add_words_of<kSum, 1>(sum, entries, words, base, query, dims);
    if (code.sub_width == 2) return add_words_of<kSum, 2>(sum, entries, words, base, query, dims);
    return add_words_of<kSum, 4>(sum, entries, words, base, query, dims);
}

// The end of scoring a candidate.
template <KeySum kSum>
SIMT_DEVICE uint64_t key_of_sum(float sum, unsigned tag) {
    return pack_key(kSum == KeySum::Dot ? __fsub_rn(0.0f, sum) : sum, tag);
}

// score_codes of codes that adds_words: a thread reads its candidate's, as many as there are
// threads; fewer where they are added to bases.
template <CodeKind kKind, KeySum kSum>
SIMT_DEVICE void score_words(const CodeScoring& job, unsigned count, const unsigned* places,
                             uint64_t* keys, StagedEntries<kKind>& entries, StagedValues& values) {
    const CodeView& code = job.stored.code;
    const auto dim = static_cast<unsigned>(code.dim), words = static_cast<unsigned>(code.words);
    const bool residual = job.stored.residual;
    const float* const query = job.queries + blockIdx.x * size_t{dim};
    const unsigned row = residual ? staged_row(min(dim, kStagedDims)) : 0;
    const unsigned each = residual ? min(kStaged, kStagedValues / row - 1) : blockDim.x;
    bool has_entries = true;
    for (unsigned first = blockIdx.y * each; first < count; first += gridDim.y * each) {
        const unsigned some = min(each, count - first);
        const bool adds = threadIdx.x < some;
        const unsigned place = adds ? places[first + threadIdx.x] : 0;
        const unsigned tag = adds ? job.stored.tags[place] : 0;
        const float* const base = residual ? values.of + threadIdx.x * row : nullptr;
        float* const of_query = values.of + some * row;
        float sum = 0;
        for (unsigned begin = 0; begin < dim; begin += kStagedDims) {
            const unsigned end = min(begin + kStagedDims, dim), own = begin + threadIdx.x;
            const WordRange range = words_of_dims<kKind>(code, begin, end);
            const SliceWords own_words =
                read_slice(job.stored.blocks + size_t{place} * words + range.begin,
                           range.end - range.begin, words % 4 == 0);
            const float own_value = own < end ? query[own] : 0;
            if (first + begin > 0) __syncthreads();  // all have done with the last values
            if (residual) stage_bases(job, places + first, some, begin, end, row, values.of);
            simt::cp_async_commit();
            if (!has_entries) stage_entries<kKind>(code, begin, entries);
            has_entries = dim <= kStagedDims;
            if (own < end) of_query[threadIdx.x] = own_value;
            simt::cp_async_wait<0>();
            __syncthreads();  // values are there
            if (!adds) continue;
            sum = add_words<kSum>(sum, code, entries.of, own_words, base, of_query, end - begin);
        }
        if (adds) keys[first + threadIdx.x] = key_of_sum<kSum>(sum, tag);
    }
}

// The candidates of a query by their codes. `entries`: those of the first dimensions were asked
// for.
template <CodeKind kKind, KeySum kSum>
SIMT_DEVICE void score_codes(const CodeScoring& job, unsigned count, const unsigned* places,
                             uint64_t* keys, StagedEntries<kKind>& entries) {
    static_assert(kSelectThreads >= kStagedDims, "a thread has one value of the query");
    SIMT_SHARED(codes, StagedWords<kKind>);
    SIMT_SHARED(scales, float[kStaged]);
    SIMT_SHARED(values, StagedValues);
    const CodeView& code = job.stored.code;
    if constexpr (kKind == CodeKind::Product4) {
        if (adds_words<kKind>(code))
            return score_words<kKind, kSum>(job, count, places, keys, entries, values);
    }
    const auto dim = static_cast<unsigned>(code.dim);
    const unsigned stride =
        (min(static_cast<unsigned>(code.words), most_words<kKind>()) + 3) / 4 * 4;
    const unsigned row = staged_row(min(dim, kStagedDims));
    const float* const query = job.queries + blockIdx.x * size_t{dim};
    const bool residual = job.stored.residual;
    unsigned each = min(kStaged, kStagedValues / row - 1);
    if constexpr (StagedWords<kKind>::kCount < StagedWords<kKind>::kAll)
        each = min(each, StagedWords<kKind>::kCount / stride);
    bool has_entries = true;
    for (unsigned first = blockIdx.y * each; first < count; first += gridDim.y * each) {
        const unsigned some = min(each, count - first);
        const bool adds = threadIdx.x < some;
        const unsigned place = adds ? places[first + threadIdx.x] : 0;
        const unsigned tag = adds ? job.stored.tags[place] : 0;
        float* const of_query = values.of + some * row;
        float sum = 0;
        for (unsigned begin = 0; begin < dim; begin += kStagedDims) {
            const unsigned end = min(begin + kStagedDims, dim), own = begin + threadIdx.x;
            const StagedCodes staged{codes.of, scales, stride, some,
                                     words_of_dims<kKind>(code, begin, end)};
            const float own_value = own < end ? query[own] : 0;
            if (residual) {
                if (first + begin > 0) __syncthreads();  // all have done with the last values
                stage_bases(job, places + first, some, begin, end, row, values.of);
            }
            stage_codes<kKind>(job.stored, places + first, staged);
            simt::cp_async_commit();
            if (!has_entries) stage_entries<kKind>(code, begin, entries);
            has_entries = dim <= kStagedDims;
            simt::cp_async_wait<0>();
            __syncthreads();  // codes are there, and all have done with the last values
            decode_codes<kKind>(job, entries, staged, begin, end, row, values.of);
            if (own < end) of_query[threadIdx.x] = own_value;
            __syncthreads();
            if (!adds) continue;
            sum = add_staged<kSum>(sum, values.of + threadIdx.x * row, of_query, end - begin);
        }
        if (adds) keys[first + threadIdx.x] = key_of_sum<kSum>(sum, tag);
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

// What a block does for its query, after waiting for what was before. score(count, places, keys)
// gives candidates keys instead of intervals, and returns how many it looked at.
template <class Score>
SIMT_DEVICE void settle_list(const Settling& job, const Score& score) {
    const CandidateLists& lists = job.scoring.lists;
    const unsigned held = job.best.held[blockIdx.x];
    const NarrowedList left = narrow_list(lists, job.best.k, job.limits, job.wanted);
    __syncthreads();  // what is left is there
    if (left.wanted > lists.room) return leave_crowded(job);
    const size_t first = blockIdx.x * lists.room;
    const unsigned scored = score(left.count, lists.places + first, lists.keys + first);
    if (threadIdx.x == 0) atomicAdd(job.scored, static_cast<unsigned long long>(scored));
    __syncthreads();  // all keys are there
    if (merge_candidates(lists, left.count, held, job.best, job.limits)) return;
    __syncthreads();
    if (job.best.k <= kSettledKeys) sort_best<kSettledKeys>(job.best);
}

template <CodeKind kKind, KeySum kSum>
__global__ void __launch_bounds__(kSettleBlocks* kSelectThreads) settle_lists(Settling job) {
    SIMT_SHARED(entries, StagedEntries<kKind>);
    simt::wait_for_previous();
    stage_entries<kKind>(job.scoring.stored.code, 0, entries);  // while lists are narrowed
    settle_list(job, [&](unsigned count, const unsigned* places, uint64_t* keys) {
        score_codes<kKind, kSum>(job.scoring, count, places, keys, entries);
        return count;
    });
    simt::cp_async_wait<0>();  // of a list that is empty or crowded
}

// Only scores. Queries of which more were found than there is room for are left as they are.
template <CodeKind kKind, KeySum kSum>
__global__ void __launch_bounds__(kSelectThreads, 7) score_in_rows(CodeScoring job) {
    SIMT_SHARED(entries, StagedEntries<kKind>);
    const CandidateLists& lists = job.lists;
    const unsigned count = lists.counts[blockIdx.x];
    if (count > lists.room) return;
    stage_entries<kKind>(job.stored.code, 0, entries);
    score_codes<kKind, kSum>(job, count, lists.places + blockIdx.x * lists.room,
                             lists.keys + blockIdx.x * lists.room, entries);
    simt::cp_async_wait<0>();  // of an empty list
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
