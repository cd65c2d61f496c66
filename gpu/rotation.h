// launch_rotation: FastRotation (kernels/fast_rotation.h) of rows that are on the device, with the
// bits of the CPU's. Thread safety: as that of launches.
#pragma once

#include <cstddef>

#include <nearcell/gpu/simt/host.h>

namespace nearcell::gpu {

struct RotateJob {
    const float* rows;
    size_t count, dim;
    const float* factors;  // (rounds + 1) x dim, see FastRotation::factors()
    size_t rounds;
    bool inverse;
    float* out;  // may be rows
};

// The most values a row may have: it must fit into the shared memory of a block.
size_t longest_rotation(const simt::DeviceProperties& device);

// Throws Unsupported where rows are longer.
void launch_rotation(const RotateJob& job, simt::Stream stream);

}  // namespace nearcell::gpu
