// The end of a coarse step by byte tiles, as settle_lists.cuh but of centroids, whose codes are
// rows of float32: which are the k nearest to each query. Those that surely are need no exact key:
// where less than k candidates have a lower end that is no greater than a candidate's upper end,
// all but these are farther than it. Of dimensions beyond kShortRow only the others are read, those
// about whose rank there is doubt. One block a query; cost: 4 dim bytes for each of them, from L2,
// and one more selection among 12 bytes a candidate.
#pragma once

#include <nearcell/gpu/kernels/four_values.cuh>
#include <nearcell/gpu/kernels/product_bound.cuh>
#include <nearcell/gpu/kernels/settle_lists.cuh>

namespace nearcell::gpu {

// Up to so many dimensions a selection costs as much as it saves, by count of instructions (not
// measured), and of more candidates there is no room for their numbers.
constexpr unsigned kShortRow = 128, kMostDoubtful = 1024;

struct ProbeSettling {
    Settling settling;  // nothing is held before
    // Of sure candidates the upper end; else exact ones, within roundings.
    bool inexact_keys;
};

// The numbers of candidates about which there is doubt, in any order, and how many.
struct Doubtful {
    unsigned numbers[kMostDoubtful];
    unsigned count;
};

// Gives others their keys. At most kMostDoubtful candidates; doubtful.count is 0.
SIMT_DEVICE void find_doubtful(const CodeScoring& job, unsigned count, size_t k,
                               const unsigned* places, uint64_t* keys, Doubtful& doubtful) {
    float least = kAlways;  // of the k-th lower end, or below
    if (count >= k) {
        const auto for_keys = [&](const auto& use) {
            for (unsigned i = threadIdx.x; i < count; i += blockDim.x)
                use(pack_key(lower_end(keys[i]), i));
        };
        const uint64_t pivot = find_pivot(for_keys, k, kLimitBits);
        least = __uint_as_float(key_bits(pivot >> kLimitBits << kLimitBits));
    }
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
        const uint64_t interval = keys[i];
        if (upper_end(interval) < least)
            keys[i] = pack_key(upper_end(interval), job.stored.tags[places[i]]);
        else
            doubtful.numbers[atomicAdd(&doubtful.count, 1u)] = i;
    }
    __syncthreads();  // all are there
}

// By eight lanes each. number(n): of the n-th one.
template <KeySum kSum, class Number>
SIMT_DEVICE void score_by_lanes(const CodeScoring& job, unsigned count, const Number& number,
                                const unsigned* places, uint64_t* keys) {
    constexpr unsigned kStep = kRowLanes * 4, kAhead = 3;  // what is read at once
    const size_t dim = job.stored.code.dim;
    const float* const query = job.queries + blockIdx.x * dim;
    const auto* const rows = reinterpret_cast<const float*>(job.stored.blocks);
    const unsigned step = blockDim.x / kRowLanes;
    for (unsigned first = threadIdx.x / 32 * (32 / kRowLanes); first < count; first += step) {
        const unsigned n = first + threadIdx.x % 32 / kRowLanes;  // whole warps go round
        const unsigned i = number(min(n, count - 1));
        const unsigned place = places[i], tag = job.stored.tags[place];
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
            for (unsigned ahead = 0; ahead < kAhead; ++ahead)
                sum = add_four<kSum>(sum, x[ahead], q[ahead]);
        }
        sum = sum_of_group(sum, kRowLanes);
        if (n >= count || threadIdx.x % kRowLanes != 0) continue;
        keys[i] = pack_key(kSum == KeySum::Dot ? 0.0f - sum : sum, tag);
    }
}

template <KeySum kSum>
__global__ void __launch_bounds__(kSettleBlocks* kSelectThreads) settle_probes(ProbeSettling job) {
    SIMT_SHARED(doubtful, Doubtful);
    const CodeScoring& scoring = job.settling.scoring;
    if (threadIdx.x == 0) doubtful.count = 0;  // there after the first barrier
    simt::wait_for_previous();
    settle_list(job.settling, [&](unsigned count, const unsigned* places, uint64_t* keys) {
        const bool all =
            !job.inexact_keys || scoring.stored.code.dim <= kShortRow || count > kMostDoubtful;
        if (!all) find_doubtful(scoring, count, job.settling.best.k, places, keys, doubtful);
        const unsigned scored = all ? count : doubtful.count;
        const auto number = [&](unsigned n) { return all ? n : doubtful.numbers[n]; };
        score_by_lanes<kSum>(scoring, scored, number, places, keys);
        return scored;
    });
}

using SettleProbesKernel = void (*)(ProbeSettling);
// kSelectThreads threads a block, up to kMostSelectThreads.
inline SettleProbesKernel settle_probes_kernel(Metric metric) {
    return is_similarity(metric) ? settle_probes<KeySum::Dot> : settle_probes<KeySum::L2>;
}

}  // namespace nearcell::gpu
