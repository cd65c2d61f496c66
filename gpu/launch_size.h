// How many blocks a launch has. For host code of the GPU backend.
#pragma once

#include <algorithm>
#include <cstddef>

namespace nearcell::gpu {

constexpr size_t ceil_divide(size_t a, size_t b) { return (a + b - 1) / b; }

// At least one: a grid of none is an error.
constexpr unsigned blocks_of(size_t threads, int block) {
    return static_cast<unsigned>(
        std::max<size_t>(1, ceil_divide(threads, static_cast<size_t>(block))));
}

}  // namespace nearcell::gpu
