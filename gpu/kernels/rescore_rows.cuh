// Candidates get their keys: scores in double precision, summed in the order of exact_score of
// index/exact_search.cpp and rounded to float as there, so that both give the same bits. Eight
// lanes a candidate, which read 32 bytes of the row at a time: of dim = 96 that is 384 bytes from
// anywhere in HBM, and 192 operations in double precision. Some hundred candidates a query: next to
// nothing of a search.
#pragma once

#include <nearcell/gpu/kernels/packed_key.cuh>
#include <nearcell/gpu/kernels/round_rows.cuh>

namespace nearcell::gpu {

constexpr int kRescoreThreads = 128;
constexpr size_t kRescoreGroups = kRescoreThreads / 8;  // candidates of a block at a time

struct RescoreJob {
    Metric metric;
    size_t dim;
    const float *rows, *queries;
    RowOrder order;
    const unsigned* active;  // the queries that take part, one a block in x; null: all
    FoundPlaces found;
    uint64_t* keys;  // beside each place: its key, as pack_key says
};

// The sum of eight lanes' sums, in the order of sum_of.
SIMT_DEVICE double sum_of_eight(double sum) {
    for (int lanes = 4; lanes > 0; lanes /= 2)
        sum += __shfl_xor_sync(kWarp, sum, lanes);
    return sum;
}

// term(0) + ... + term(n - 1) by eight lanes.
template <class Term>
SIMT_DEVICE double sum_of(size_t n, const Term& term) {
    double sum = 0;
    for (size_t j = threadIdx.x % 8; j < n; j += 8)
        sum += term(j);
    return sum_of_eight(sum);
}

SIMT_DEVICE double product_of(const float* a, const float* b, size_t dim) {
    return sum_of(dim,
                  [&](size_t j) { return static_cast<double>(a[j]) * static_cast<double>(b[j]); });
}

// The same in all eight lanes.
SIMT_DEVICE double exact_score(Metric metric, const float* a, const float* b, size_t dim) {
    const auto difference = [&](size_t j) {
        return static_cast<double>(a[j]) - static_cast<double>(b[j]);
    };
    switch (metric) {
        case Metric::L2:
            return sum_of(dim, [&](size_t j) { return difference(j) * difference(j); });
        case Metric::L1: return sum_of(dim, [&](size_t j) { return fabs(difference(j)); });
        case Metric::InnerProduct: return product_of(a, b, dim);
        case Metric::Cosine: {
            const double squares = product_of(a, a, dim) * product_of(b, b, dim);
            const double cosine = product_of(a, b, dim) / sqrt(squares);
            return squares == 0 ? 0.0 : cosine < -1 ? -1.0 : cosine > 1 ? 1.0 : cosine;
        }
    }
    return 0;
}

__global__ void __launch_bounds__(kRescoreThreads) rescore_rows(RescoreJob job) {
    const size_t query = job.active == nullptr ? blockIdx.x : job.active[blockIdx.x];
    const size_t slot = blockIdx.x, count = job.found.count(slot);
    if (count > job.found.capacity) return;
    const size_t step = gridDim.y * kRescoreGroups;
    for (size_t first = blockIdx.y * kRescoreGroups; first < count; first += step) {
        const size_t mine = first + threadIdx.x / 8;
        const size_t i = mine < count ? mine : first;  // all lanes take part in the sums
        const uint64_t row = row_at(job.order, job.found.place(slot, i));
        const double score = exact_score(job.metric, job.queries + query * job.dim,
                                         job.rows + row * job.dim, job.dim);
        const float key = key_from_score(job.metric, static_cast<float>(score));
        if (mine < count && threadIdx.x % 8 == 0)
            job.keys[slot * job.found.capacity + i] = pack_key(key, static_cast<unsigned>(row));
    }
}

}  // namespace nearcell::gpu
