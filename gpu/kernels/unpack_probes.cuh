// The cells that queries look into, from a search among the centroids: tags are their numbers. A
// thread a probe.
#pragma once

#include <nearcell/gpu/kernels/cell_layout.cuh>

namespace nearcell::gpu {

constexpr int kUnpackThreads = 256;

__global__ void __launch_bounds__(kUnpackThreads)
    unpack_probes(const uint64_t* packed, size_t count, unsigned* cells, float* keys) {
    const size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i >= count) return;
    cells[i] = tag_of(packed[i]);
    keys[i] = __uint_as_float(key_bits(packed[i]));
}

}  // namespace nearcell::gpu
