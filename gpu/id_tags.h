// IdTags: what makes equal keys differ on a device: 32 bits for each id. Ids that have no more are
// their own tags; else a tag is the rank of its id among all of the index. Thread safety: update()
// excludes all else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <nearcell/gpu/device_array.h>
#include <nearcell/kernels/backend.h>

namespace nearcell::gpu {

class IdTags {
   public:
    // Brings tags up to date with all cells of an index; version() changes when tags do.
    void update(std::span<const CellView> cells, MemoryBudget& budget, simt::Stream stream);

    uint64_t version() const { return version_; }
    unsigned tag_of(int64_t id) const;
    int64_t id_of(unsigned tag) const { return sorted_.empty() ? int64_t{tag} : sorted_[tag]; }
    // Ids by tag, on the device; null: tags are ids.
    const int64_t* device_ids() const { return sorted_.empty() ? nullptr : ids_.data(); }
    size_t size() const { return sorted_.size(); }

   private:
    struct Seen {
        uint64_t version = 0;
        size_t size = 0;
        int64_t largest = -1;
    };
    std::vector<Seen> seen_;  // of each cell
    std::vector<int64_t> sorted_;
    DeviceArray<int64_t> ids_;
    uint64_t version_ = 0;
};

}  // namespace nearcell::gpu
