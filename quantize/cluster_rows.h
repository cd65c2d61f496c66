// ClusterRows: rows grouped by their label, the cluster or the cell that they belong to, so that
// all rows of one are at hand together, in their order. Cost: 4 bytes a row and two passes over the
// labels, shared out to threads where there are many more rows than clusters; the result does not
// depend on their number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <nearcell/core/aligned_buffer.h>
#include <nearcell/kernels/backend.h>

namespace nearcell {

class ClusterRows {
   public:
    // labels: each row's, below `clusters`; at most 2^32 - 1 rows. The next call uses the memory
    // again.
    void group(std::span<const uint32_t> labels, size_t clusters, int threads);

    size_t clusters() const { return begin_.size() - 1; }
    size_t size(size_t cluster) const { return begin_[cluster + 1] - begin_[cluster]; }
    // A cluster's rows, ascending.
    std::span<const uint32_t> rows(size_t cluster) const {
        return {order_.data() + begin_[cluster], size(cluster)};
    }
    RowGroups view() const { return {order_.data(), begin_.data(), clusters()}; }

   private:
    AlignedBuffer<uint32_t> order_;
    std::vector<size_t> begin_{0};  // clusters + 1
};

}  // namespace nearcell
