// The end of a search by byte tiles of re-rank rows: as settle_lists.cuh, but what is left is
// scored by the rows, with the bits that the CPU's re-ranking gives. One block a query, a warp a
// candidate: bound by reading rows from anywhere in HBM.
#pragma once

#include <nearcell/gpu/kernels/settle_lists.cuh>

namespace nearcell::gpu {

// job.scoring.stored: the rows, `code` and `blocks`.
template <CodeKind kKind, KeySum kSum>
__global__ void __launch_bounds__(kSettleBlocks* kSelectThreads) settle_rows(Settling job) {
    simt::wait_for_previous();
    settle_list(job, [&](unsigned count, const unsigned* places, uint64_t* keys) {
        const StoredCodes& stored = job.scoring.stored;
        const float* const query = job.scoring.queries + blockIdx.x * stored.code.dim;
        for (unsigned i = threadIdx.x / 32; i < count; i += blockDim.x / 32) {
            const unsigned place = places[i], tag = stored.tags[place];
            const uint32_t* const row = stored.blocks + size_t{place} * stored.code.words;
            const float key = key_by_row<kKind, kSum>(stored.code, row, query);
            if (threadIdx.x % 32 == 0) keys[i] = pack_key(key, tag);
        }
        return count;
    });
}

struct PickRowSettling {
    Metric metric;
    template <CodeKind kKind>
    SettleKernel operator()() const {
        return is_similarity(metric) ? settle_rows<kKind, KeySum::Dot>
                                     : settle_rows<kKind, KeySum::L2>;
    }
};
// kSelectThreads threads a block, up to kMostSelectThreads. Not for L1; null for kinds that no
// re-rank store has.
inline SettleKernel settle_rows_kernel(CodeKind kind, Metric metric) {
    return pick_row_kind(kind, PickRowSettling{metric});
}

}  // namespace nearcell::gpu
