// Candidates of which only intervals are known, whose keys lie in them (scan_byte_tiles.cuh): at
// least k keys are no greater than the k-th smallest upper end, so that those whose lower end is
// greater are not among the k best. What is left stays in the list, for the next round or to be
// scored. One block a query; cost: one reading of 12 bytes a candidate, of lists that are longer
// than a block's registers hold a few.
#pragma once

#include <nearcell/gpu/kernels/cell_layout.cuh>
#include <nearcell/gpu/kernels/select_smallest.cuh>

namespace nearcell::gpu {

constexpr int kLimitBits = 40;  // limits have 24 of their bits, or are greater by the others
constexpr unsigned kKeptKeys = 8, kFewKeys = 2;  // that a thread has at most
constexpr unsigned kShortList = kKeptKeys * kSelectThreads;

SIMT_DEVICE float upper_end(uint64_t interval) { return __uint_as_float(key_bits(interval)); }
SIMT_DEVICE float lower_end(uint64_t interval) { return __uint_as_float(tag_of(interval)); }
SIMT_DEVICE bool is_within(uint64_t interval, float limit) { return lower_end(interval) <= limit; }

struct OpenList {
    uint64_t* keys;
    unsigned* places;
    unsigned count;
};

// Where this thread's `own` numbers begin, if those of all threads stand in a row from `begin` on,
// which becomes their end.
SIMT_DEVICE unsigned place_of_block(unsigned own, unsigned& begin) {
    SIMT_SHARED(warps, unsigned[kMostSelectWarps]);
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const unsigned sum = sum_up_to_lane(own);
    if (lane == 31) warps[warp] = sum;
    __syncthreads();
    unsigned to = begin + sum - own;
    for (unsigned w = 0; w < blockDim.x / 32; ++w) {
        to += w < warp ? warps[w] : 0;
        begin += warps[w];
    }
    __syncthreads();  // all have read them
    return to;
}

// The limit of a list, and how many are within it: these are in front then.
struct Narrowed {
    float limit;
    unsigned kept;
};

// A list that the block has room for in its registers, kKeys a thread.
template <unsigned kKeys>
SIMT_DEVICE Narrowed narrow_short(const OpenList& list, size_t k, float limit) {
    uint64_t keys[kKeys];
    unsigned places[kKeys];
    SIMT_UNROLL
    for (unsigned i = 0; i < kKeys; ++i) {
        const unsigned at = i * blockDim.x + threadIdx.x;
        keys[i] = at < list.count ? list.keys[at] : 0;
        places[i] = at < list.count ? list.places[at] : 0;
    }
    const auto is_there = [&](unsigned i) { return i * blockDim.x + threadIdx.x < list.count; };
    if (list.count >= k) {
        const auto for_keys = [&](const auto& use) {
            SIMT_UNROLL
            for (unsigned i = 0; i < kKeys; ++i) {
                if (is_there(i)) use(keys[i]);
            }
        };
        limit = min(limit, upper_end(find_pivot(for_keys, k, kLimitBits)));
    }
    unsigned own = 0, kept = 0;
    SIMT_UNROLL
    for (unsigned i = 0; i < kKeys; ++i)
        own += is_there(i) && is_within(keys[i], limit);
    unsigned to = place_of_block(own, kept);
    SIMT_UNROLL
    for (unsigned i = 0; i < kKeys; ++i) {
        if (!is_there(i) || !is_within(keys[i], limit)) continue;
        list.keys[to] = keys[i];
        list.places[to++] = places[i];
    }
    return {limit, kept};
}

// Moves what `keeps` to the front, and returns how many: each to a place at or before its own,
// after the block has read up to there.
template <class Keeps>
SIMT_DEVICE unsigned keep_some(const OpenList& list, const Keeps& keeps) {
    unsigned kept = 0;
    for (unsigned first = 0; first < list.count; first += blockDim.x) {
        const unsigned i = first + threadIdx.x;
        const uint64_t key = i < list.count ? list.keys[i] : 0;
        const unsigned place = i < list.count ? list.places[i] : 0;
        const bool keep = i < list.count && keeps(key);
        const unsigned to = place_of_block(keep ? 1 : 0, kept);
        if (!keep) continue;
        list.keys[to] = key;
        list.places[to] = place;
    }
    return kept;
}

// Any list.
SIMT_DEVICE Narrowed narrow_long(const OpenList& list, size_t k, float limit) {
    if (list.count >= k) {
        const auto for_keys = [&](const auto& use) {
            for (unsigned i = threadIdx.x; i < list.count; i += blockDim.x)
                use(list.keys[i]);
        };
        limit = min(limit, upper_end(find_pivot(for_keys, k, kLimitBits)));
    }
    return {limit, keep_some(list, [&](uint64_t key) { return is_within(key, limit); })};
}

// How many candidates are left, and how many were wanted at most.
struct NarrowedList {
    unsigned count, wanted;
};

// What a block does for its query: lowers its limit to what its list says. wanted: as select_keys;
// of a list that had no room for all, what is there still gives a limit. All threads may read what
// it leaves after the next barrier.
SIMT_DEVICE NarrowedList narrow_list(const CandidateLists& lists, size_t k, float* limits,
                                     unsigned* wanted) {
    const size_t query = blockIdx.x;
    const unsigned found = lists.counts[query], most = max(found, wanted[query]);
    const float limit = limits[query];
    if (found == 0) return {0, most};
    const unsigned count = found < lists.room ? found : static_cast<unsigned>(lists.room);
    const OpenList list{lists.keys + query * lists.room, lists.places + query * lists.room, count};
    const Narrowed narrowed =
        count <= kFewKeys * blockDim.x    ? narrow_short<kFewKeys>(list, k, limit)
        : count <= kKeptKeys * blockDim.x ? narrow_short<kKeptKeys>(list, k, limit)
                                          : narrow_long(list, k, limit);
    if (threadIdx.x == 0) {
        wanted[query] = most;
        lists.counts[query] = narrowed.kept;
        limits[query] = narrowed.limit;
    }
    return {narrowed.kept, most};
}

__global__ void __launch_bounds__(kSelectThreads, 4)
    narrow_lists(CandidateLists lists, size_t k, float* limits, unsigned* wanted) {
    simt::wait_for_previous();
    narrow_list(lists, k, limits, wanted);
}

// Of lists whose keys are known, those up to the limit stay.
__global__ void __launch_bounds__(kSelectThreads)
    drop_beyond(CandidateLists lists, const float* limits) {
    const size_t query = blockIdx.x;
    const unsigned count = lists.counts[query];
    if (count > lists.room) return;
    const OpenList list{lists.keys + query * lists.room, lists.places + query * lists.room, count};
    const float limit = limits[query];
    const unsigned kept = keep_some(list, [&](uint64_t key) { return upper_end(key) <= limit; });
    __syncthreads();  // all have read the count
    if (threadIdx.x == 0) lists.counts[query] = kept;
}

// Limits from samples: `size` numbers of each query, of which counts[query], that are there, say in
// the order of floats what keys are not greater than. Counts become 0. At most kKeptKeys a thread.
__global__ void __launch_bounds__(kSelectThreads)
    limit_by_samples(const unsigned* uppers, unsigned size, size_t k, unsigned* counts,
                     float* limits) {
    simt::wait_for_previous();
    const size_t query = blockIdx.x;
    const unsigned count = counts[query];
    unsigned kept[kKeptKeys];
    SIMT_UNROLL
    for (unsigned i = 0; i < kKeptKeys; ++i) {
        const unsigned at = i * blockDim.x + threadIdx.x;
        kept[i] = at < count ? uppers[query * size + at] : 0;
    }
    if (count >= k) {
        const auto for_keys = [&](const auto& use) {
            SIMT_UNROLL
            for (unsigned i = 0; i < kKeptKeys; ++i) {
                if (i * blockDim.x + threadIdx.x < count) use(uint64_t{kept[i]} << 32);
            }
        };
        const float limit = upper_end(find_pivot(for_keys, k, kLimitBits));
        if (threadIdx.x == 0) limits[query] = min(limits[query], limit);
    }
    __syncthreads();  // all have read the count
    if (threadIdx.x == 0) counts[query] = 0;
}

}  // namespace nearcell::gpu
