// Vectors become 16-bit numbers and what the bounds of exact_bound.cuh need to know of them. One
// warp a vector; memory-bound: 4 dim bytes read (the second and third reading of a row come from
// L1) and 2 dim written for some 10 dim operations in double precision, which consumers' GPUs do at
// 1/64 of their rate. Done once for a base and once for each batch of queries.
#pragma once

#include <nearcell/gpu/kernels/exact_bound.cuh>
#include <nearcell/gpu/kernels/found_places.cuh>
#include <nearcell/gpu/kernels/packed_key.cuh>

namespace nearcell::gpu {

constexpr int kRoundThreads = 256;

// The vector of this thread's warp.
SIMT_DEVICE size_t vector_of_warp() { return (size_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32; }

// The sum over a warp, in all lanes.
SIMT_DEVICE double warp_sum(double value) {
    for (int lanes = 16; lanes > 0; lanes /= 2)
        value += __shfl_xor_sync(kWarp, value, lanes);
    return value;
}

// What x' is x times: 1, or for Cosine 1 / |x|, for zeros 0.
SIMT_DEVICE double inverse_length(const Space& space, const float* vector) {
    if (space.metric != Metric::Cosine) return 1;
    double sum = 0;
    for (size_t j = threadIdx.x % 32; j < space.dim; j += 32) {
        const double x = static_cast<double>(vector[j]);
        sum += x * x;
    }
    sum = warp_sum(sum);
    return sum == 0 ? 0 : 1 / sqrt(sum);
}

SIMT_DEVICE unsigned short round_value(Rounding rounding, float value) {
    return rounding == Rounding::Bfloat16 ? __bfloat16_as_ushort(__float2bfloat16_rn(value))
                                          : __half_as_ushort(__float2half_rn(value));
}
SIMT_DEVICE float value_of(Rounding rounding, unsigned short bits) {
    return rounding == Rounding::Bfloat16 ? __bfloat162float(__ushort_as_bfloat16(bits))
                                          : __half2float(__ushort_as_half(bits));
}

// The rounded base: tiles of 16 places, in the order of an mma's A operand. Each 16 components of a
// tile are 512 bytes, 16 of each lane: it has places lane / 4 and 8 more, and of a segment of 32
// components, in two such parts, those from 8 (lane % 4) on.
constexpr int kTileRows = 16, kSegment = 32;
constexpr uint64_t padded_places(uint64_t rows) {
    return (rows + kTileRows - 1) / kTileRows * kTileRows;
}
// Where component j of a place is.
constexpr size_t place_in_tiles(size_t place, size_t j, size_t padded) {
    const size_t row = place % kTileRows, part = j / kSegment * 2 + j % 8 / 4;
    const size_t lane = row % 8 * 4 + j % kSegment / 8;
    return (place - row) * padded + part * 256 + lane * 8 + (j % 4 / 2 * 2 + row / 8) * 2 + j % 2;
}

// Rounds the vector whose component j is value(j), calls put(j, rounded) for it, and all lanes get
// the sums.
template <class Value, class Put>
SIMT_DEVICE RoundedSums round_vector(const Space& space, const Value& value, const Put& put) {
    RoundedSums sums;
    for (size_t j = threadIdx.x % 32; j < space.padded; j += 32) {
        const double exact = j < space.dim ? value(j) : 0;
        const unsigned short bits = round_value(space.rounding, static_cast<float>(exact));
        const float number = value_of(space.rounding, bits);
        const double rounded = static_cast<double>(number);
        put(j, number);
        sums.exact += exact * exact;
        sums.rounded += rounded * rounded;
        sums.error += (exact - rounded) * (exact - rounded);
    }
    sums.exact = warp_sum(sums.exact);
    sums.rounded = warp_sum(sums.rounded);
    sums.error = warp_sum(sums.error);
    return sums;
}

// longest: the bits of the largest |x' - c| of all rows, rounded up; 0 before.
__global__ void __launch_bounds__(kRoundThreads)
    measure_rows(Space space, const float* rows, size_t count, unsigned* longest) {
    const size_t row = vector_of_warp();
    if (row >= count) return;
    const float* const vector = rows + row * space.dim;
    const double inverse = inverse_length(space, vector);
    double sum = 0;
    for (size_t j = threadIdx.x % 32; j < space.dim; j += 32) {
        const double moved =
            static_cast<double>(vector[j]) * inverse - static_cast<double>(space.centre[j]);
        sum += moved * moved;
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) {
        const float up = round_up(sqrt(sum) * (1 + slack_of_sum(space.dim)));
        atomicMax(longest, __float_as_uint(up));
    }
}

// Places that fill the last tile have zeros, and terms that no limit lets pass.
__global__ void __launch_bounds__(kRoundThreads)
    round_rows(Space space, const float* rows, RowOrder order, unsigned short* rounded,
               float2* terms) {
    const size_t place = vector_of_warp();
    if (place >= padded_places(order.rows)) return;
    const auto put = [&](size_t j, float value) {
        rounded[place_in_tiles(place, j, space.padded)] = round_value(space.rounding, value);
    };
    if (place >= order.rows) {
        for (size_t j = threadIdx.x % 32; j < space.padded; j += 32)
            put(j, 0);
        if (threadIdx.x % 32 == 0) terms[place] = make_float2(__uint_as_float(0x7f800000u), 0);
        return;
    }
    const float* const vector = rows + row_at(order, place) * space.dim;
    const double inverse = inverse_length(space, vector);
    const auto component = [&](size_t j) {
        const double moved =
            static_cast<double>(vector[j]) * inverse - static_cast<double>(space.centre[j]);
        return moved * space.scale;
    };
    const RoundedSums sums = round_vector(space, component, put);
    if (threadIdx.x % 32 == 0) terms[place] = row_terms(space, sums);
}

// The power of two that brings a length into [2^(target - 1), 2^target); 1 for 0.
SIMT_DEVICE double scale_to(double length, int target) {
    int exponent = 0;
    if (length > 0) frexp(length, &exponent);
    return length > 0 ? ldexp(1.0, target - exponent) : 1;
}

// Queries of similarities are not moved, but each has a scale of its own.
SIMT_DEVICE double similar_query_scale(const Space& space, const float* vector, double inverse,
                                       double* product, double* length) {
    double squares = 0, with_centre = 0;
    for (size_t j = threadIdx.x % 32; j < space.dim; j += 32) {
        const double q = static_cast<double>(vector[j]) * inverse;
        squares += q * q;
        with_centre += q * static_cast<double>(space.centre[j]);
    }
    *product = warp_sum(with_centre);
    *length = sqrt(warp_sum(squares)) * (1 + slack_of_sum(space.dim));
    return scale_to(*length, target_exponent(space.rounding));
}

// Queries become rows of numbers, times the bound's factor. limits: such that every row passes,
// until k are known.
__global__ void __launch_bounds__(kRoundThreads)
    round_queries(Space space, const float* queries, size_t count, unsigned short* rounded,
                  QueryBound* bounds, float2* limits) {
    const size_t query = vector_of_warp();
    if (query >= count) return;
    const float* const vector = queries + query * space.dim;
    unsigned short* const to = rounded + query * space.padded;
    const double inverse = inverse_length(space, vector);
    const bool similar = is_similar(space.metric);
    double product = 0, length = 0, scale = space.scale;
    if (similar) scale = similar_query_scale(space, vector, inverse, &product, &length);
    const auto component = [&](size_t j) {
        const double x = static_cast<double>(vector[j]) * inverse;
        return (similar ? x : x - static_cast<double>(space.centre[j])) * scale;
    };
    const RoundedSums sums = round_vector(space, component, [&](size_t j, float value) {
        to[j] = round_value(space.rounding, query_factor(space.metric) * value);
    });
    const double whole = similar ? scale * space.scale : scale;
    const QueryBound bound = query_bound(space, sums, whole, product, length);
    if (!bound.bounded) {  // no infinities in products
        for (size_t j = threadIdx.x % 32; j < space.padded; j += 32)
            to[j] = 0;
    }
    if (threadIdx.x % 32 == 0) {
        bounds[query] = bound;
        limits[query] = make_float2(__uint_as_float(0x7f800000u), 0);
    }
}

}  // namespace nearcell::gpu
