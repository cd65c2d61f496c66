// How many blocks a launch has, and when it starts. For host code of the GPU backend.
#pragma once

#include <algorithm>
#include <cstddef>

#include <nearcell/gpu/simt/host.h>

namespace nearcell::gpu {

constexpr size_t ceil_divide(size_t a, size_t b) { return (a + b - 1) / b; }

// At least one: a grid of none is an error.
constexpr unsigned blocks_of(size_t threads, int block) {
    return static_cast<unsigned>(
        std::max<size_t>(1, ceil_divide(threads, static_cast<size_t>(block))));
}

constexpr size_t kMostGridY = 65535;  // blocks

// Whether kernels for so many queries are launched early (simt::LaunchShape). Of many, what starts
// cost is little, and blocks that wait would crowd on the processors that have room first.
constexpr size_t kEarlyQueries = 256;
inline bool starts_early(const simt::DeviceProperties& device, size_t queries) {
    return device.architecture >= 90 && queries <= kEarlyQueries;
}

}  // namespace nearcell::gpu
