// Sums over the lanes of a warp, which all call together: log2(32) shuffles each.
#pragma once

#include <nearcell/gpu/kernels/packed_key.cuh>

namespace nearcell::gpu {

// Over so many lanes in a row, which is a power of two; in all of them.
template <class T>
SIMT_DEVICE T sum_of_group(T value, int lanes) {
    for (int other = lanes / 2; other > 0; other /= 2)
        value += __shfl_xor_sync(kWarp, value, other);
    return value;
}

// Over this lane and those before it.
template <class T>
SIMT_DEVICE T sum_up_to_lane(T value) {
    const unsigned lane = threadIdx.x % 32;
    for (unsigned lanes = 1; lanes < 32; lanes *= 2) {
        const T other = __shfl_up_sync(kWarp, value, lanes);
        value += lane >= lanes ? other : 0;
    }
    return value;
}

}  // namespace nearcell::gpu
