#include <nearcell/ivf/cell_memory.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include <nearcell/core/large_pages.h>
#include <nearcell/core/parallel.h>

namespace nearcell {
namespace {

// Consecutive cells that will share an array.
struct Part {
    size_t first = 0, end = 0;
    size_t bytes = 0;
};

// Views of a file, and what is empty, need no memory until they grow.
bool needs_none(const Cell& cell, size_t size) {
    return cell.memory_bytes() == 0 && size == cell.size();
}

void gather(std::span<Cell> cells, std::span<const size_t> sizes, CellShape shape,
            size_t array_bytes, int threads) {
    const bool empty =
        std::all_of(cells.begin(), cells.end(), [](const Cell& cell) { return cell.size() == 0; });
    const auto room = [&](size_t c) { return empty ? sizes[c] : sizes[c] + sizes[c] / 2; };
    std::vector<Part> parts(1);
    for (size_t c = 0; c < cells.size(); ++c) {
        if (parts.back().bytes >= array_bytes) parts.push_back({c, c, 0});
        parts.back().end = c + 1;
        if (!needs_none(cells[c], sizes[c])) parts.back().bytes += Cell::bytes_for(room(c), shape);
    }
    parallel_for(parts.size(), threads, [&](size_t p, int) {
        const Part& part = parts[p];
        if (part.bytes == 0) return;
        void* const memory = allocate_aligned(64, part.bytes);
        if (memory == nullptr) throw std::bad_alloc();
        const std::shared_ptr<const void> keeper(memory, std::free);
        std::byte* place = static_cast<std::byte*>(memory);
        for (size_t c = part.first; c < part.end; ++c) {
            if (needs_none(cells[c], sizes[c])) continue;
            cells[c].move_to(place, room(c), shape, keeper);
            place += Cell::bytes_for(room(c), shape);
        }
    });
}

}  // namespace

void CellMemory::make_room(std::span<Cell> cells, std::span<const size_t> sizes, CellShape shape,
                           int threads) {
    if (cells.size() == 1) return;  // its arrays are large by themselves
    size_t vectors = 0, moving = 0;
    for (size_t c = 0; c < cells.size(); ++c) {
        vectors += sizes[c];
        if (sizes[c] > cells[c].size() && !cells[c].has_room(sizes[c], shape))
            moving += Cell::bytes_for(sizes[c], shape);
    }
    const size_t least = std::max(limits_.least_bytes, Cell::bytes_for(vectors, shape) / 4);
    if (moving == 0 || apart_ + moving < least) {
        apart_ += moving;
        return;
    }
    gather(cells, sizes, shape, limits_.array_bytes, threads);
    apart_ = 0;
}

}  // namespace nearcell
