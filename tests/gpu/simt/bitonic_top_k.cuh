// The 32 smallest of many keys: each warp keeps its own, sorted, one a lane, and collects what is
// smaller than its largest in shared memory until 32 are there; then the block merges its warps'.
#pragma once

#include <nearcell/gpu/simt/simt.h>

namespace nearcell::gpu {

using Key = unsigned long long;
constexpr Key kNoKey = ~0ull;
constexpr unsigned kWholeWarp = 0xffffffffu;

__device__ __forceinline__ Key compare_exchange(Key key, int distance, bool keep_smaller) {
    const Key other = __shfl_xor_sync(kWholeWarp, key, distance);
    return (key < other) == keep_smaller ? key : other;
}

// Ascending by lane.
__device__ __forceinline__ Key warp_sort(Key key, int lane) {
    SIMT_UNROLL
    for (int size = 2; size <= 32; size *= 2) {
        SIMT_UNROLL
        for (int distance = size / 2; distance > 0; distance /= 2) {
            const bool ascending = (lane & size) == 0 || size == 32;
            key = compare_exchange(key, distance, ((lane & distance) == 0) == ascending);
        }
    }
    return key;
}

// The 32 smallest of two sorted rows of 32, sorted.
__device__ __forceinline__ Key warp_merge(Key kept, Key sorted, int lane) {
    const Key reversed = __shfl_sync(kWholeWarp, sorted, 31 - lane);
    kept = kept < reversed ? kept : reversed;
    SIMT_UNROLL
    for (int distance = 16; distance > 0; distance /= 2)
        kept = compare_exchange(kept, distance, (lane & distance) == 0);
    return kept;
}

template <int kWarps>
__global__ void bitonic_top_k_kernel(const Key* keys, int count, Key* smallest) {
    SIMT_SHARED(waiting, Key[kWarps][64]);
    SIMT_SHARED(merged, Key[kWarps][32]);
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    Key kept = kNoKey;
    int filled = 0;
    for (int i = warp * 32; i < count; i += kWarps * 32) {
        const Key key = i + lane < count ? keys[i + lane] : kNoKey;
        const bool wanted = key < __shfl_sync(kWholeWarp, kept, 31);
        const unsigned votes = __ballot_sync(kWholeWarp, wanted);
        if (wanted) waiting[warp][filled + __popc(votes & ((1u << lane) - 1))] = key;
        filled += __popc(votes);
        if (filled < 32) continue;
        __syncwarp();
        const Key full = waiting[warp][lane];
        const Key rest = lane + 32 < filled ? waiting[warp][lane + 32] : kNoKey;
        __syncwarp();
        filled -= 32;
        if (lane < filled) waiting[warp][lane] = rest;
        kept = warp_merge(kept, warp_sort(full, lane), lane);
    }
    __syncwarp();
    const Key last = lane < filled ? waiting[warp][lane] : kNoKey;
    kept = warp_merge(kept, warp_sort(last, lane), lane);
    for (int half = kWarps / 2; half > 0; half /= 2) {
        if (warp >= half && warp < 2 * half) merged[warp - half][lane] = kept;
        __syncthreads();
        if (warp < half) kept = warp_merge(kept, merged[warp][lane], lane);
        __syncthreads();
    }
    if (warp == 0) smallest[lane] = kept;
}

}  // namespace nearcell::gpu
