// Which of a vector's nearest rows by exact keys is the one that float32 takes for the nearest, as
// the CPU's assignment does. Where one of all rows could be it that was not found, the vector is
// doubtful, and is compared with every row.
//
// The float32 key of a row, summed in the order of the dimensions, is off by less than
//
//   L2             (dim + 3) 2^-24 D^2 + dim 2^-149     D^2 the exact key
//   dot products   dim 2^-24 |x| |c| + dim 2^-149
//
// (a rounding of each difference, squared, and one of each of dim fused multiply-adds; Higham,
// "Accuracy and stability of numerical algorithms", section 3.1). So the row that it takes is no
// farther, exactly, than the nearest one and twice that. Found keys are rounded to float, and rows
// that were not found are no nearer than the last that was: when that is farther than the bound,
// which is widened for all roundings to twice its size, no other row comes into question.
//
// Four lanes a vector, each with one row that was found: 8 dim bytes read a row, from anywhere in
// L2, next to nothing of the search before. Ran on an H100 (bench/results/gpu-h100.txt).
#pragma once

#include <nearcell/gpu/kernels/assign_rows.cuh>

namespace nearcell::gpu {

constexpr int kChooseThreads = 128;
constexpr int kFound = 4;  // rows of a vector

struct ChooseJob {
    RowOperand vectors, rows;
    const uint64_t* found;     // kFound of each vector, as pack_key says, in any order
    double longest;            // at least the length of every row
    unsigned long long* best;  // of each vector; of the doubtful kNoRow
    unsigned* doubtful;        // their numbers, in any order
    unsigned* doubtful_count;  // 0 before
};

// The largest or the smallest of a vector's four lanes, in all of them.
SIMT_DEVICE unsigned long long smallest_of_four(unsigned long long number) {
    for (int lanes = kFound / 2; lanes > 0; lanes /= 2) {
        const unsigned long long other = __shfl_xor_sync(kWarp, number, lanes);
        number = other < number ? other : number;
    }
    return number;
}
SIMT_DEVICE unsigned long long largest_of_four(unsigned long long number) {
    return ~smallest_of_four(~number);
}

// Whether a row whose key is `last` or more cannot be the one that float32 takes.
template <TileKey kKey>
SIMT_DEVICE bool is_beyond(double first, double last, double dim, double length) {
    const double tiny = (dim + 8) * 0x1p-146;
    if (!(last < 1e38)) return false;  // nor may sums overflow
    if constexpr (kKey == TileKey::L2) return last > first * (1 + (dim + 8) * 0x1p-22) + tiny;
    const double slack = (fabs(first) + fabs(last)) * 0x1p-22 + (dim + 8) * 0x1p-22 * length;
    return length < 1e37 && last > first + slack + tiny;
}

template <TileKey kKey>
__global__ void __launch_bounds__(kChooseThreads) choose_label(ChooseJob job) {
    const unsigned vector = blockIdx.x * (kChooseThreads / kFound) + threadIdx.x / kFound;
    const bool there = vector < job.vectors.count;
    const unsigned mine = there ? vector : job.vectors.count - 1;  // all lanes shuffle
    const uint64_t found = job.found[size_t{mine} * kFound + threadIdx.x % kFound];
    const unsigned row = min(tag_of(found), job.rows.count - 1);  // nothing was found: doubtful
    const float* const a = job.vectors.at(mine, 0);
    const float* const b = job.rows.at(row, 0);
    float sum = 0;
    double squares = 0;
    for (unsigned j = 0; j < job.vectors.dim; ++j) {
        sum = add_dimension<kKey>(a[j], b[j], sum);
        if (kKey == TileKey::Dot) squares += static_cast<double>(a[j]) * static_cast<double>(a[j]);
    }
    const float key = kKey == TileKey::Dot ? -sum : sum;
    const bool finite = fabs(key) < __uint_as_float(0x7f800000u);  // neither infinite nor NaN
    const unsigned long long best = smallest_of_four(finite ? pack_key(key, row) : kNoRow);
    const unsigned long long first = smallest_of_four(found), last = largest_of_four(found);
    if (!there || threadIdx.x % kFound != 0) return;
    const double length = sqrt(squares) * job.longest * (1 + 0x1p-20);
    const bool clear =
        best != kNoRow && is_beyond<kKey>(static_cast<double>(__uint_as_float(key_bits(first))),
                                          static_cast<double>(__uint_as_float(key_bits(last))),
                                          static_cast<double>(job.vectors.dim), length);
    job.best[vector] = clear ? best : kNoRow;
    if (!clear) job.doubtful[atomicAdd(job.doubtful_count, 1u)] = vector;
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
