#include <nearcell/gpu/id_tags.h>

#include <algorithm>

namespace nearcell::gpu {

void IdTags::update(std::span<const CellView> cells, MemoryBudget& budget, simt::Stream stream) {
    seen_.resize(cells.size());
    bool changed = false;
    int64_t largest = -1;
    for (size_t c = 0; c < cells.size(); ++c) {
        const CellView& cell = cells[c];
        Seen& seen = seen_[c];
        if (seen.version != cell.version || seen.size != cell.size) {
            changed = true;
            seen = {cell.version, cell.size, -1};
            for (size_t i = 0; i < cell.size; ++i)
                seen.largest = std::max(seen.largest, cell.ids[i]);
        }
        largest = std::max(largest, seen.largest);
    }
    const bool by_rank = largest > int64_t{0xffffffff};
    if (!by_rank && sorted_.empty()) return;
    if (by_rank && !sorted_.empty() && !changed && ids_.size() == sorted_.size()) return;
    ++version_;
    sorted_.clear();
    ids_ = DeviceArray<int64_t>();
    if (!by_rank) return;
    for (const CellView& cell : cells)
        sorted_.insert(sorted_.end(), cell.ids, cell.ids + cell.size);
    std::sort(sorted_.begin(), sorted_.end());
    // When there is no memory for it, the sizes differ, and the next update tries again.
    ids_ = DeviceArray<int64_t>(sorted_.size(), stream, budget, "ids");
    ids_.copy_from(sorted_.data(), sorted_.size());
    simt::synchronize(stream);
}

unsigned IdTags::tag_of(int64_t id) const {
    if (sorted_.empty()) return static_cast<unsigned>(id);
    const auto at = std::lower_bound(sorted_.begin(), sorted_.end(), id);
    return static_cast<unsigned>(at - sorted_.begin());
}

}  // namespace nearcell::gpu
