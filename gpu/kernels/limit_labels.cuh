// Limits for the scan of all rows (scan_rows.cuh) that let the row pass which float32 takes for a
// vector's nearest, as the CPU's assignment does.
//
// The float32 key of a row, summed in the order of the dimensions, is off by less than
//
//   L2             (dim + 3) 2^-24 D^2 + dim 2^-149     D^2 the exact key
//   dot products   dim 2^-24 |x| |c| + dim 2^-149
//
// (a rounding of each difference, squared, and one of each of dim fused multiply-adds; Higham,
// "Accuracy and stability of numerical algorithms", section 3.1). So the row that it takes is no
// farther, exactly, than any other row and twice that; the other is the lowest that a scan of some
// rows has noted. The bound is widened for all roundings to twice its size.
#pragma once

#include <nearcell/gpu/kernels/rescore_rows.cuh>

namespace nearcell::gpu {

constexpr int kLimitThreads = 128;
constexpr int kLimitLanes = 8;  // those of exact_score

struct LabelLimitJob {
    Space space;
    const float* vectors;  // space.dim of each
    size_t count;
    const float* rows;
    RowOrder order;
    const unsigned long long* lowest;  // of each vector, as pack_key says; ~0: none
    const QueryBound* bounds;
    float2* limits;
};

// A key that the row which float32 takes does not exceed, when `key` is any row's exact one.
SIMT_DEVICE double largest_key(Metric metric, double key, size_t dim, double lengths) {
    const double d = static_cast<double>(dim) + 8, tiny = d * 0x1p-146;
    if (!is_similar(metric)) return key * (1 + d * 0x1p-22) + tiny;
    return key + fabs(key) * 0x1p-20 + d * 0x1p-21 * lengths + 2 * tiny;
}

// No row passes where sums may overflow: the vector is doubtful then.
__global__ void __launch_bounds__(kLimitThreads) limit_labels(LabelLimitJob job) {
    const size_t vector = (size_t{blockIdx.x} * kLimitThreads + threadIdx.x) / kLimitLanes;
    const bool there = vector < job.count;
    const size_t mine = there ? vector : job.count - 1;  // all lanes shuffle
    const unsigned long long lowest = job.lowest[mine];
    const bool any = lowest != ~uint64_t{0};
    const uint64_t row = any ? row_at(job.order, tag_of(lowest)) : 0;
    const size_t dim = job.space.dim;
    const float* const a = job.vectors + mine * dim;
    const double score = exact_score(job.space.metric, a, job.rows + row * dim, dim);
    const double squares = is_similar(job.space.metric) ? product_of(a, a, dim) : 0;
    if (!there || threadIdx.x % kLimitLanes != 0) return;
    const float key = key_from_score(job.space.metric, static_cast<float>(score));
    const double lengths = sqrt(squares) * job.space.row_length * (1 + 0x1p-20);
    const double largest = largest_key(job.space.metric, static_cast<double>(key), dim, lengths);
    const bool sure = any && fabs(largest) < 1e38 && lengths < 1e37;
    job.limits[vector] = sure ? limit_of(job.space, job.bounds[vector], round_up(largest))
                              : make_float2(-__uint_as_float(0x7f800000u), 0);
}

}  // namespace nearcell::gpu
