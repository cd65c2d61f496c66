// The best of a query's candidates: select_keys merges what a round found into the k best so far,
// whose last key is the query's new limit; sort_keys puts them in order. One block a query. Cost: a
// few readings of 12 bytes a candidate; sorting takes log^2 k passes, in shared memory up to
// kSharedKeys numbers.
#pragma once

#include <nearcell/gpu/kernels/cell_layout.cuh>
#include <nearcell/gpu/kernels/select_smallest.cuh>

namespace nearcell::gpu {

constexpr unsigned kSharedKeys = 1024;

// The k smallest of at most a key a thread, in order: each counts how many are smaller than its
// own. To where they come from, if one likes. limit: becomes the k-th, if there are so many; may
// be null.
SIMT_DEVICE void rank_keys(const KeyList& list, size_t k, uint64_t* best, unsigned* best_places,
                           float* limit) {
    SIMT_SHARED(ranked, uint64_t[kMostSelectThreads]);
    const unsigned own = threadIdx.x;
    const bool is_there = own < list.total;
    const uint64_t key = is_there ? key_at(list, own) : 0;
    const unsigned place = is_there ? place_at(list, own) : 0;
    ranked[own] = key;
    __syncthreads();
    unsigned rank = 0;
    const uint64_t next = key + 1;
    for (unsigned i = 0; i < list.total;
         ++i)  // equal ones, which there should be none of, in order
        rank += ranked[i] < (i < own ? next : key);
    if (is_there && rank < k) {
        best[rank] = key;
        best_places[rank] = place;
        if (limit != nullptr && rank == k - 1) *limit = __uint_as_float(key_bits(key));
    }
}

// What a block does for its query: merges its candidates, so many, into the best so far, of which
// `held` are there. Of more than there is room for, none. Returns whether they are in order then.
SIMT_DEVICE bool merge_candidates(const CandidateLists& lists, size_t count, size_t held,
                                  const BestLists& best, float* limits) {
    if (count == 0 || count > lists.room) return false;
    const size_t query = blockIdx.x, total = held + count;
    uint64_t* const keys = best.keys + query * best.k;
    unsigned* const places = best.places + query * best.k;
    const KeyList list{keys,   lists.keys + query * lists.room,  held, total,
                       places, lists.places + query * lists.room};
    if (total <= blockDim.x) {
        rank_keys(list, best.k, keys, places, limits + query);
        if (threadIdx.x == 0) best.held[query] = static_cast<unsigned>(min(total, best.k));
        return true;
    }
    const unsigned worst = keep_smallest(list, best.k, keys, places);
    if (threadIdx.x != 0) return false;
    best.held[query] = static_cast<unsigned>(min(total, best.k));
    if (total >= best.k) limits[query] = __uint_as_float(key_bits(uint64_t{worst} << 32));
    return false;
}

// wanted: the largest number of candidates that a round found of a query. More than there is room
// for are not all there, and the host has to search again for such queries, with more room.
// scored: all of them, added up.
__global__ void __launch_bounds__(kSelectThreads)
    select_keys(CandidateLists lists, BestLists best, float* limits, unsigned* wanted,
                unsigned long long* scored) {
    simt::wait_for_previous();
    const unsigned count = lists.counts[blockIdx.x];
    if (threadIdx.x == 0) {
        if (count > wanted[blockIdx.x]) wanted[blockIdx.x] = count;
        atomicAdd(scored, static_cast<unsigned long long>(count));
    }
    merge_candidates(lists, count, best.held[blockIdx.x], best, limits);
}

// Exchanges what is out of order at i and its partner.
SIMT_DEVICE void order_pair(uint64_t* keys, unsigned* places, unsigned i, unsigned partner) {
    const uint64_t low = keys[i], high = keys[partner];
    if (low <= high) return;
    keys[i] = high;
    keys[partner] = low;
    const unsigned place = places[i];
    places[i] = places[partner];
    places[partner] = place;
}

// A bitonic sort whose comparisons all go upwards: numbers past the end, which are not there, would
// be the largest, and stay where they are. (Batcher 1968, "Sorting networks and their
// applications", with the first step of each merge mirrored.)
SIMT_DEVICE void sort_upwards(uint64_t* keys, unsigned* places, unsigned count) {
    for (unsigned size = 2; size / 2 < count; size *= 2) {
        for (unsigned stride = size / 2; stride > 0; stride /= 2) {
            __syncthreads();
            for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
                const unsigned partner = stride == size / 2 ? i ^ (size - 1) : i ^ stride;
                if (partner > i && partner < count) order_pair(keys, places, i, partner);
            }
        }
    }
    __syncthreads();
}

// What a block does for its query; up to kRoom in shared memory.
template <unsigned kRoom>
SIMT_DEVICE void sort_best(const BestLists& best) {
    SIMT_SHARED(shared_keys, uint64_t[kRoom]);
    SIMT_SHARED(shared_places, unsigned[kRoom]);
    const size_t first = blockIdx.x * best.k;
    const unsigned count = best.held[blockIdx.x];
    if (count <= blockDim.x) {
        const KeyList list{best.keys + first, nullptr, count, count, best.places + first, nullptr};
        return rank_keys(list, best.k, best.keys + first, best.places + first, nullptr);
    }
    if (count > kRoom) {
        sort_upwards(best.keys + first, best.places + first, count);
        return;
    }
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
        shared_keys[i] = best.keys[first + i];
        shared_places[i] = best.places[first + i];
    }
    sort_upwards(shared_keys, shared_places, count);
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
        best.keys[first + i] = shared_keys[i];
        best.places[first + i] = shared_places[i];
    }
}

__global__ void __launch_bounds__(kSelectThreads) sort_keys(BestLists best) {
    simt::wait_for_previous();
    sort_best<kSharedKeys>(best);
}

// Lists of some queries take the place of those of queries rows[i]. A block a query.
__global__ void __launch_bounds__(kSelectThreads)
    replace_lists(BestLists from, const unsigned* rows, BestLists to) {
    const size_t row = rows[blockIdx.x], held = from.held[blockIdx.x];
    for (size_t i = threadIdx.x; i < held; i += blockDim.x) {
        to.keys[row * to.k + i] = from.keys[blockIdx.x * from.k + i];
        to.places[row * to.k + i] = from.places[blockIdx.x * from.k + i];
    }
    if (threadIdx.x == 0) to.held[row] = static_cast<unsigned>(held);
}

}  // namespace nearcell::gpu
