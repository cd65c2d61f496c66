// CudaCells: the copy of an index's cells on a GPU (kernels/device.h, DeviceCells). Thread safety:
// searches may run at once, each in a session of its own; where the cells come in parts, one after
// the other.
#pragma once

#include <nearcell/gpu/held_cells.h>

namespace nearcell::gpu {

class CudaCells : public DeviceCells {
   public:
    // memory_limit: bytes of the device that this object may take.
    CudaCells(const SearchableCells& cells, const DeviceOptions& options, int ordinal,
              size_t memory_limit);

    void update(const SearchableCells& cells) override;
    size_t memory_bytes() const override { return budget_.used(); }
    SearchStats search(const DeviceBatch& batch, const DeviceSearch& search) const override;
    SearchStats range_search(const Vectors& queries, float radius, float scan_radius,
                             const DeviceSearch& search,
                             std::span<std::vector<Candidate>> hits) const override;

   private:
    template <class Run>
    size_t in_batches(size_t queries, size_t most, Session& session, const Run& run) const;
    std::string plan(size_t batch) const;

    int ordinal_;
    simt::DeviceProperties device_;
    mutable MemoryBudget budget_;
    HeldCells held_;
    mutable SessionPool sessions_;
};

}  // namespace nearcell::gpu
