// CellMemory: where many cells lie. Searches go through cells at random, and a processor keeps the
// places of few pages, so small cells share large arrays, in large pages. That also makes a large
// addition cheap: one allocation for hundreds of cells, and few page faults. Not thread safe.
#pragma once

#include <cstddef>
#include <span>

#include <nearcell/ivf/cell.h>

namespace nearcell {

struct GatherLimits {
    size_t least_bytes = size_t{16} << 20;  // with less to move, cells stay where they are
    size_t array_bytes = size_t{64} << 20;  // after which a shared array ends
};

class CellMemory {
   public:
    explicit CellMemory(const GatherLimits& limits = {}) : limits_(limits) {}

    // Called before each cell c grows to sizes[c], at least its size. When what does not fit where
    // it is, and what did not at earlier calls, make up a quarter of all cells or more, all of them
    // move to shared arrays that have room for it, but for views of a file that need not grow; room
    // for half as much again, unless all were empty. Otherwise they stay, and grow one by one. An
    // array is freed when its last cell has left it. When memory runs out, some cells may have
    // moved. Cost: linear in the number of cells; a copy of what moves.
    void make_room(std::span<Cell> cells, std::span<const size_t> sizes, CellShape shape,
                   int threads);

   private:
    GatherLimits limits_;
    size_t apart_ = 0;  // bytes of cells that grew one by one since all moved
};

}  // namespace nearcell
