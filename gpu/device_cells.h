// CudaCells: the copy of an index's cells on a GPU (kernels/device.h, DeviceCells): the cells,
// their centroids, which are searched by the same means as one cell of float32 codes, and the steps
// that queries pass before. Thread safety: searches may run at once, each in a session of its own.
#pragma once

#include <memory>
#include <vector>

#include <nearcell/gpu/cell_store.h>
#include <nearcell/gpu/chunk_search.h>
#include <nearcell/gpu/query_steps.h>
#include <nearcell/gpu/session.h>
#include <nearcell/kernels/device.h>

namespace nearcell::gpu {

class CudaCells : public DeviceCells {
   public:
    // memory_limit: bytes that this object may take.
    CudaCells(const SearchableCells& cells, const DeviceOptions& options, int ordinal,
              size_t memory_limit);

    void update(const SearchableCells& cells) override;
    size_t memory_bytes() const override { return budget_.used(); }
    SearchStats search(const DeviceBatch& batch, const DeviceSearch& search) const override;
    SearchStats range_search(const Vectors& queries, float radius, float scan_radius,
                             const DeviceSearch& search,
                             std::span<std::vector<Candidate>> hits) const override;

   private:
    class Call;

    void set_cells(const SearchableCells& cells);

    DeviceOptions options_;
    int ordinal_;
    simt::DeviceProperties device_;
    mutable MemoryBudget budget_;
    OwnStream stream_;  // of updates
    std::vector<const uint32_t*> host_rerank_rows_;
    CodeView host_rerank_code_;
    bool has_rerank_ = false;
    uint64_t centroid_version_ = 0;
    size_t dim_ = 0;
    Metric metric_ = Metric::L2;
    std::unique_ptr<CellStore> cells_, centroids_;
    QuerySteps steps_;
    mutable SessionPool sessions_;
};

}  // namespace nearcell::gpu
