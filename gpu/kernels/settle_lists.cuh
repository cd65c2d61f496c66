// The end of a search by byte tiles: lists are narrowed once more, what is left of each query is
// scored by the codes, and the best, with those that were held before, are put in order. One block
// a query, with some candidates more than are wanted. Codes lie in rows (cell_layout.cuh): of
// up to sixteen candidates the block reads them at once, so that it waits once, and a thread each
// decodes one, in the order of dimensions, as scans do; longer codes each thread reads by itself.
// Cost: reading codes from anywhere, from HBM.
#pragma once

#include <nearcell/gpu/kernels/narrow_lists.cuh>
#include <nearcell/gpu/kernels/product_bound.cuh>
#include <nearcell/gpu/kernels/score_candidates.cuh>
#include <nearcell/gpu/kernels/select_keys.cuh>

namespace nearcell::gpu {

constexpr unsigned kLeastStaged = 8, kStaged = 16,
                   kStagedWords = 1024;  // candidates, and words of all of them
constexpr unsigned kRowLanes = 8;        // that score a row together
constexpr unsigned kSettledKeys = 256;   // more than so many are not put in order

struct Settling {
    CodeScoring scoring;
    BestLists best;
    float* limits;
    unsigned* wanted;
    unsigned long long* scored;
    unsigned long long* crowded;  // counts queries that had no room; may be null
    bool by_lanes;  // Float32 codes: keys may have the bits of another order of dimensions
};

// The candidates of a query by their codes.
template <CodeKind kKind, KeySum kSum>
SIMT_DEVICE void score_staged(const CodeScoring& job, unsigned count, const unsigned* places,
                              uint64_t* keys) {
    SIMT_SHARED(staged, uint32_t[kStagedWords]);
    const auto words = static_cast<unsigned>(job.stored.code.words), stride = words | 1;
    const float* const query = job.queries + blockIdx.x * job.stored.code.dim;
    const bool is_staged = kStagedWords / stride >= kLeastStaged;
    const unsigned each = is_staged ? min(kStaged, kStagedWords / stride) : blockDim.x;
    for (unsigned first = blockIdx.y * each; first < count; first += gridDim.y * each) {
        const unsigned some = min(each, count - first);
        __syncthreads();  // all have read the last ones
        for (unsigned i = threadIdx.x; is_staged && i < some * words; i += blockDim.x) {
            const size_t place = places[first + i / words];
            staged[i / words * stride + i % words] = job.stored.blocks[place * words + i % words];
        }
        __syncthreads();
        if (threadIdx.x >= some) continue;
        const unsigned place = places[first + threadIdx.x];
        const uint32_t* const code =
            is_staged ? staged + threadIdx.x * stride : job.stored.blocks + size_t{place} * words;
        const float key = key_by_code<kKind, kSum, 1>(job, place, code, query);
        keys[first + threadIdx.x] = pack_key(key, job.stored.tags[place]);
    }
}

// Four values of a row from j on; zero past the end.
SIMT_DEVICE float4 four_values(const float* row, size_t j, size_t dim) {
    if (dim % 4 == 0) return simt::load16(reinterpret_cast<const float4*>(row + j));
    return make_float4(row[j], j + 1 < dim ? row[j + 1] : 0, j + 2 < dim ? row[j + 2] : 0,
                       j + 3 < dim ? row[j + 3] : 0);
}

// The same where codes are float32, by eight lanes each.
template <KeySum kSum>
SIMT_DEVICE void score_by_lanes(const CodeScoring& job, unsigned count, const unsigned* places,
                                uint64_t* keys) {
    const size_t dim = job.stored.code.dim;
    const float* const query = job.queries + blockIdx.x * dim;
    const auto* const rows = reinterpret_cast<const float*>(job.stored.blocks);
    const unsigned step = blockDim.x / kRowLanes;
    for (unsigned first = threadIdx.x / 32 * (32 / kRowLanes); first < count; first += step) {
        const unsigned i = first + threadIdx.x % 32 / kRowLanes;  // whole warps go round
        const unsigned place = places[min(i, count - 1)];
        const float* const row = rows + place * dim;
        float sum = 0;
        for (size_t j = threadIdx.x % kRowLanes * 4; j < dim; j += kRowLanes * 4) {
            const float4 x = four_values(row, j, dim), q = four_values(query, j, dim);
            sum = add_term<kSum>(sum, x.x, q.x);
            sum = add_term<kSum>(sum, x.y, q.y);
            sum = add_term<kSum>(sum, x.z, q.z);
            sum = add_term<kSum>(sum, x.w, q.w);
        }
        sum = sum_of_group(sum, kRowLanes);
        if (i >= count || threadIdx.x % kRowLanes != 0) continue;
        keys[i] = pack_key(kSum == KeySum::Dot ? 0.0f - sum : sum, job.stored.tags[place]);
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
__global__ void __launch_bounds__(kSelectThreads, 4) settle_lists(Settling job) {
    simt::wait_for_previous();
    const CandidateLists& lists = job.scoring.lists;
    narrow_list(lists, job.best.k, job.limits, job.wanted);
    __syncthreads();  // what is left is there
    if (job.wanted[blockIdx.x] > lists.room) return leave_crowded(job);
    const unsigned count = lists.counts[blockIdx.x];
    if (threadIdx.x == 0) atomicAdd(job.scored, static_cast<unsigned long long>(count));
    const unsigned* const places = lists.places + blockIdx.x * lists.room;
    uint64_t* const keys = lists.keys + blockIdx.x * lists.room;
    if (kKind == CodeKind::Float32 && job.by_lanes)
        score_by_lanes<kSum>(job.scoring, count, places, keys);
    else
        score_staged<kKind, kSum>(job.scoring, count, places, keys);
    __syncthreads();  // all keys are there
    if (merge_candidates(lists, job.best, job.limits)) return;
    __syncthreads();
    if (job.best.k <= kSettledKeys) sort_best<kSettledKeys>(job.best);
}

// Only scores. Queries of which more were found than there is room for are left as they are.
template <CodeKind kKind, KeySum kSum>
__global__ void __launch_bounds__(kSelectThreads, 8) score_in_rows(CodeScoring job) {
    const CandidateLists& lists = job.lists;
    const unsigned count = lists.counts[blockIdx.x];
    if (count > lists.room) return;
    score_staged<kKind, kSum>(job, count, lists.places + blockIdx.x * lists.room,
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
// kSelectThreads threads a block. Not for L1; null for Bits.
inline CodeScoringKernel score_in_rows_kernel(CodeKind kind, Metric metric) {
    return pick_kind(kind, PickScoring{metric});
}
inline SettleKernel settle_lists_kernel(CodeKind kind, Metric metric) {
    return pick_kind(kind, PickSettling{metric});
}

}  // namespace nearcell::gpu
