// Which of the rows that may be the one that float32 takes for a vector's nearest
// (limit_labels.cuh) it is, with the CPU's bits. Where that cannot be told, the vector is doubtful,
// and is compared with every row.
//
// Four lanes a vector, each with a row at a time: 8 dim bytes read a row, from anywhere in L2.
#pragma once

#include <nearcell/gpu/kernels/assign_rows.cuh>
#include <nearcell/gpu/kernels/found_places.cuh>

namespace nearcell::gpu {

constexpr int kChooseThreads = 128;
constexpr int kChooseLanes = 4;  // of a vector

struct ChooseJob {
    RowOperand vectors, rows;
    LabelCandidates candidates;
    unsigned long long* best;  // of each vector; of the doubtful kNoRow
    unsigned* doubtful;        // their numbers, in any order
    unsigned* doubtful_count;  // 0 before
};

// None when every key is infinite or NaN.
template <TileKey kKey>
SIMT_DEVICE unsigned long long best_of_lane(const ChooseJob& job, unsigned vector, unsigned count) {
    const auto& [found, order] = job.candidates;
    const float* const a = job.vectors.at(vector, 0);
    unsigned long long best = kNoRow;
    for (unsigned i = threadIdx.x % kChooseLanes; i < count; i += kChooseLanes) {
        const auto row = static_cast<unsigned>(row_at(order, found.place(vector, i)));
        const float* const b = job.rows.at(row, 0);
        float sum = 0;
        for (unsigned j = 0; j < job.vectors.dim; ++j)
            sum = add_dimension<kKey>(a[j], b[j], sum);
        const float key = kKey == TileKey::Dot ? -sum : sum;
        const bool finite = fabs(key) < __uint_as_float(0x7f800000u);
        const unsigned long long number = finite ? pack_key(key, row) : kNoRow;
        best = number < best ? number : best;
    }
    return best;
}

template <TileKey kKey>
__global__ void __launch_bounds__(kChooseThreads) choose_label(ChooseJob job) {
    const unsigned vector = (blockIdx.x * kChooseThreads + threadIdx.x) / kChooseLanes;
    const bool there = vector < job.vectors.count;
    const FoundPlaces& found = job.candidates.found;
    const unsigned count = there ? found.count(vector) : 0;
    const bool fit = count <= found.capacity;
    const unsigned long long best =
        smallest_of_lanes(best_of_lane<kKey>(job, vector, fit ? count : 0), 1, kChooseLanes);
    if (!there || threadIdx.x % kChooseLanes != 0) return;
    job.best[vector] = best;
    if (best == kNoRow) job.doubtful[atomicAdd(job.doubtful_count, 1u)] = vector;
}

// Doubtful vectors one behind the other, and what was found for them back to its places.
__global__ void __launch_bounds__(kChooseThreads)
    gather_vectors(RowOperand vectors, const unsigned* which, unsigned count, float* to) {
    const unsigned i = blockIdx.x * (kChooseThreads / 32) + threadIdx.x / 32;
    if (i >= count) return;
    for (unsigned j = threadIdx.x % 32; j < vectors.dim; j += 32)
        to[size_t{i} * vectors.dim + j] = *vectors.at(which[i], j);
}
__global__ void __launch_bounds__(kChooseThreads)
    scatter_best(const unsigned long long* found, const unsigned* which, unsigned count,
                 unsigned long long* best) {
    const unsigned i = blockIdx.x * kChooseThreads + threadIdx.x;
    if (i < count) best[which[i]] = found[i];
}

}  // namespace nearcell::gpu
