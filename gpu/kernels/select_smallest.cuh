// Selection by a block: the k-th smallest of numbers, which are all different, is found by digits
// of 8 bits, the most significant first: a histogram of what agrees with the digits found so far,
// until the rest of a digit is wanted as a whole. Then what is smaller moves to the front. Any k;
// cost: some three readings of 8 bytes a number. The result does not depend on their order.
#pragma once

#include <nearcell/gpu/kernels/warp_sums.cuh>

namespace nearcell::gpu {

// Threads of a block; fewer, whole warps, wait less for each other where there is little to do, and
// more, where few blocks are under way, for memory.
constexpr int kSelectThreads = 128, kMostSelectThreads = 512;
constexpr int kMostSelectWarps = kMostSelectThreads / 32;

// The best so far and then the candidates, with what belongs to each (may be null).
struct KeyList {
    const uint64_t *best, *keys;
    size_t held, total;
    const unsigned *best_places = nullptr, *places = nullptr;
};
SIMT_DEVICE uint64_t key_at(const KeyList& list, size_t i) {
    return i < list.held ? list.best[i] : list.keys[i - list.held];
}
SIMT_DEVICE unsigned place_at(const KeyList& list, size_t i) {
    return i < list.held ? list.best_places[i] : list.places[i - list.held];
}

// What the block has found of the wanted key: `value` where `mask` is set. `rank` of the keys that
// agree with it are wanted, the smallest.
struct Digits {
    uint64_t value, mask;
    unsigned rank, agree;
};

// Keys of each digit.
struct alignas(16) DigitCounts {
    unsigned of[256];
};

// One warp: which digit comes next.
SIMT_DEVICE void find_digit(const DigitCounts& counts, int shift, Digits& digits) {
    const unsigned lane = threadIdx.x, rank = digits.rank;
    const auto* const mine = reinterpret_cast<const uint4*>(counts.of + lane * 8);
    const uint4 a = simt::load16(mine), b = simt::load16(mine + 1);
    const unsigned own[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
    unsigned sum = 0;
    SIMT_UNROLL
    for (unsigned i = 0; i < 8; ++i)
        sum += own[i];
    unsigned before = sum_up_to_lane(sum) - sum;
    __syncwarp();  // rank has been read
    SIMT_UNROLL
    for (unsigned i = 0; i < 8; ++i) {
        const unsigned after = before + own[i];
        if (before < rank && after >= rank) {  // of one lane, and one of its digits
            digits.value |= uint64_t{lane * 8 + i} << shift;
            digits.mask |= uint64_t{255} << shift;
            digits.rank = rank - before;
            digits.agree = own[i];
        }
        before = after;
    }
}

// The largest key that is wanted, or a number between it and the next, which agrees with it in all
// bits from `last` on; at least k are there. for_keys(use) calls use(key) for some of them, those
// of the calling thread.
template <class ForKeys>
SIMT_DEVICE uint64_t find_pivot(const ForKeys& for_keys, size_t k, int last = 56) {
    SIMT_SHARED(counts, DigitCounts);
    SIMT_SHARED(digits, Digits);
    if (threadIdx.x == 0) digits = Digits{0, 0, static_cast<unsigned>(k), 0};
    for (int shift = 56; shift >= 0; shift -= 8) {
        for (unsigned bin = threadIdx.x; bin < 256; bin += blockDim.x)
            counts.of[bin] = 0;
        __syncthreads();
        const uint64_t value = digits.value, mask = digits.mask;
        for_keys([&](uint64_t key) {
            if ((key & mask) == value) atomicAdd(&counts.of[key >> shift & 255], 1u);
        });
        __syncthreads();
        if (threadIdx.x < 32) find_digit(counts, shift, digits);
        __syncthreads();
        if (digits.rank == digits.agree && shift <= last) break;
    }
    return digits.value | ~digits.mask;
}

// Moves the keys up to the pivot, at most k, to the front of `best`. Returns the largest. A key
// moves to a place at or before its own, and only after the block has read all up to its own.
SIMT_DEVICE unsigned keep_up_to(uint64_t pivot, const KeyList& list, size_t k, uint64_t* best,
                                unsigned* best_places) {
    SIMT_SHARED(warps, unsigned[kMostSelectWarps]);
    SIMT_SHARED(worst, unsigned);
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (threadIdx.x == 0) worst = 0;
    unsigned mine = 0;
    size_t kept = 0;
    for (size_t first = 0; first < list.total; first += blockDim.x) {
        const size_t i = first + threadIdx.x;
        const bool is_there = i < list.total;
        const uint64_t key = is_there ? key_at(list, i) : ~uint64_t{0};
        const unsigned place = is_there && best_places != nullptr ? place_at(list, i) : 0;
        const bool keep = is_there && key <= pivot;
        const unsigned keeping = __ballot_sync(kWarp, keep);
        if (lane == 0) warps[warp] = static_cast<unsigned>(__popc(keeping));
        __syncthreads();
        size_t to = kept + static_cast<size_t>(__popc(keeping & ((1u << lane) - 1)));
        for (unsigned w = 0; w < blockDim.x / 32; ++w) {
            to += w < warp ? warps[w] : 0;
            kept += warps[w];
        }
        if (keep && to < k) {  // equal numbers, which there should be none of, may be too many
            best[to] = key;
            if (best_places != nullptr) best_places[to] = place;
            mine = max(mine, static_cast<unsigned>(key >> 32));
        }
        __syncthreads();
    }
    atomicMax(&worst, mine);
    __syncthreads();
    return worst;
}

// The k smallest of a list, or all when there are fewer, to the front of `best`, unordered. Returns
// the upper half of the largest. All threads of the block call.
SIMT_DEVICE unsigned keep_smallest(const KeyList& list, size_t k, uint64_t* best,
                                   unsigned* best_places = nullptr) {
    const auto for_keys = [&](const auto& use) {
        for (size_t i = threadIdx.x; i < list.total; i += blockDim.x)
            use(key_at(list, i));
    };
    const uint64_t pivot = list.total > k ? find_pivot(for_keys, k) : ~uint64_t{0};
    return keep_up_to(pivot, list, k, best, best_places);
}

}  // namespace nearcell::gpu
