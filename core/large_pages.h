// Memory for arrays that are read at random: where it is large, in large pages. A search touches
// many cells and rows, each in a page of its own, and a processor keeps the places of few pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace nearcell {

constexpr size_t kLargePage = size_t{2} << 20;

// For std::free; null where there is no memory. `alignment` is a power of two; bytes are rounded up
// to a multiple of it, those of a large array to one of a large page.
inline void* allocate_aligned(size_t alignment, size_t bytes) {
    constexpr size_t kWorthwhile = 2 * kLargePage;
    const bool large = bytes >= kWorthwhile;
    if (large && alignment < kLargePage) alignment = kLargePage;
    if (bytes > static_cast<size_t>(-1) - alignment) return nullptr;
    bytes = (bytes + alignment - 1) / alignment * alignment;
    void* const memory = std::aligned_alloc(alignment, bytes);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    // A wish: without such pages everything works as before.
    if (large && memory != nullptr) ::madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memory;
}

}  // namespace nearcell
