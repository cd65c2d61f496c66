// The end of a search by byte tiles: what narrow_lists.cuh left of each query is scored by the
// codes, and the best, with those that were held before, are put in order. One block a query; cost:
// that of score_candidates.cuh and select_keys.cuh, for a few candidates more than are wanted.
#pragma once

#include <nearcell/gpu/kernels/score_candidates.cuh>
#include <nearcell/gpu/kernels/select_keys.cuh>

namespace nearcell::gpu {

struct Settling {
    CodeScoring scoring;
    BestLists best;
    float* limits;
    unsigned long long* scored;
};

template <CodeKind kKind, KeySum kSum>
__global__ void __launch_bounds__(kSelectThreads, 8) settle_lists(Settling job) {
    static_assert(kSelectThreads == kScoreThreads);
    if (threadIdx.x == 0) {
        const unsigned long long count = job.scoring.lists.counts[blockIdx.x];
        atomicAdd(job.scored, count);
    }
    score_list<kKind, kSum>(job.scoring);
    __syncthreads();  // all keys are there
    merge_candidates(job.scoring.lists, job.best, job.limits);
    __syncthreads();
    sort_best(job.best);
}

using SettleKernel = void (*)(Settling);

// kSelectThreads threads a block. Not for L1.
inline SettleKernel settle_lists_kernel(CodeKind kind, Metric metric) {
    return pick_kind(kind, [metric]<CodeKind kKind>() -> SettleKernel {
        return is_similarity(metric) ? settle_lists<kKind, KeySum::Dot>
                                     : settle_lists<kKind, KeySum::L2>;
    });
}

}  // namespace nearcell::gpu
