// CellRows: rows grouped by the cell that they belong to, so that cells can be filled side by side,
// each with all of its rows at once. Cost: 4 bytes a row and two passes over the labels, shared out
// to threads where there are many more rows than cells; the result does not depend on their number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <nearcell/core/aligned_buffer.h>

namespace nearcell {

class CellRows {
   public:
    // labels: each row's cell, below `cells`; at most 2^32 - 1 rows.
    CellRows(std::span<const uint32_t> labels, size_t cells, int threads);
    // A cell's rows, ascending.
    std::span<const uint32_t> of(size_t cell) const {
        return {order_.data() + begin_[cell], begin_[cell + 1] - begin_[cell]};
    }

   private:
    AlignedBuffer<uint32_t> order_;
    std::vector<size_t> begin_;  // cells + 1
};

}  // namespace nearcell
