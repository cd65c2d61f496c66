// gather_cells: memory for many cells that grow together. Searches go through cells at random, and
// a processor keeps the places of few pages, so small cells share large arrays, in large pages.
// That also makes a large addition cheap: one allocation for hundreds of cells, and few page
// faults.
#pragma once

#include <cstddef>
#include <span>

#include <nearcell/ivf/cell.h>

namespace nearcell {

struct GatherLimits {
    size_t least_bytes = size_t{16} << 20;  // with less to move, cells stay where they are
    size_t array_bytes = size_t{64} << 20;  // after which a shared array ends
};

// Makes room for sizes[c] vectors, at least its size, in each cell c, when that moves much: when
// what does not fit where it is and what was moved apart since the last time are together a quarter
// of all memory of the cells or more. Then all cells move, but those that are views of a file and
// need not grow; cells get room to grow by a quarter more, unless all were empty. Otherwise nothing
// happens, and cells grow one by one. An array is freed when its last cell has left it. When memory
// runs out, some cells may have moved. Cost: linear in the number of cells; a copy of what moves.
void gather_cells(std::span<Cell> cells, std::span<const size_t> sizes, CellShape shape,
                  int threads, const GatherLimits& limits = {});

}  // namespace nearcell
