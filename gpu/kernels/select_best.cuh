// The k smallest of a query's best and new keys become its best, unordered, and set its new limit.
// One block a query. One of which a round has found more than there was room for stays as it is,
// for the host to look again.
#pragma once

#include <nearcell/gpu/kernels/rescore_rows.cuh>
#include <nearcell/gpu/kernels/select_smallest.cuh>

namespace nearcell::gpu {

struct SelectJob {
    Space space;
    const QueryBound* bounds;
    const unsigned* active;  // the queries that take part, one a block; null: all
    FoundPlaces found;
    const uint64_t* keys;  // beside the places
    uint64_t* best;        // k of each query
    unsigned* held;        // how many of them are there
    size_t k;
    float2* limits;
};

__global__ void __launch_bounds__(kSelectThreads) select_best(SelectJob job) {
    const size_t query = job.active == nullptr ? blockIdx.x : job.active[blockIdx.x];
    const size_t slot = blockIdx.x, count = job.found.count(slot), held = job.held[query];
    uint64_t* const best = job.best + query * job.k;
    if (count == 0 || count > job.found.capacity) return;
    const size_t total = held + count;
    const KeyList list{best, job.keys + slot * job.found.capacity, held, total};
    const unsigned worst = keep_smallest(list, job.k, best);
    if (threadIdx.x != 0) return;
    job.held[query] = static_cast<unsigned>(min(total, job.k));
    if (total < job.k) return;
    const float key = __uint_as_float(key_bits(uint64_t{worst} << 32));
    job.limits[query] = limit_of(job.space, job.bounds[query], key);
}

}  // namespace nearcell::gpu
