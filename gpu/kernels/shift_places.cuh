// Places in a part of an index, of which a device holds one part at a time, become places in all of
// it. A thread a place.
#pragma once

#include <nearcell/gpu/kernels/cell_layout.cuh>

namespace nearcell::gpu {

constexpr int kShiftThreads = 256;

// Places become those of another numbering, in which each cell begins `shifts` later (modulo 2^32).
__global__ void __launch_bounds__(kShiftThreads)
    shift_places(BestLists lists, size_t queries, const unsigned* cell_of_block,
                 const unsigned* shifts) {
    const size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i >= queries * lists.k || i % lists.k >= lists.held[i / lists.k]) return;
    lists.places[i] += shifts[cell_of_block[lists.places[i] / kBlock]];
}

}  // namespace nearcell::gpu
