// Memory for arrays that are read at random: where it is large, in large pages. A search touches
// many cells and rows, each in a page of its own, and a processor keeps the places of few pages.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

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

// Has the system move what lies around many small arrays into large pages, where it can (Linux
// from 6.1 on): their contents and addresses stay. Costs a copy of the memory, once. The arrays
// must not be freed meanwhile.
inline void move_to_large_pages(std::vector<std::span<const std::byte>> arrays) {
#if defined(__linux__)
    constexpr int kCollapse = 25;  // MADV_COLLAPSE, which older headers lack
    std::sort(arrays.begin(), arrays.end(),
              [](const auto& a, const auto& b) { return a.data() < b.data(); });
    uintptr_t next = 0;  // the first page that was not asked for yet
    for (const std::span<const std::byte>& array : arrays) {
        if (array.empty()) continue;
        const uintptr_t first = reinterpret_cast<uintptr_t>(array.data());
        uintptr_t page = std::max(next, first / kLargePage * kLargePage);
        for (; page < first + array.size(); page += kLargePage)
            ::madvise(reinterpret_cast<void*>(page), kLargePage, kCollapse);  // a wish
        next = page;
    }
#else
    static_cast<void>(arrays);
#endif
}

}  // namespace nearcell
