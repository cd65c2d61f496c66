// HeldCells: what a device holds of an index, for searches: the steps of queries, the centroids, as
// one cell of float32 codes that is searched by the same means, and the cells. Where their codes do
// not fit into the budget they stay in host memory, or the file that it is mapped from, and pass
// through the device part by part in each search; places then count through the whole index. Thread
// safety: update() excludes all else; load() and what is then searched need `loading`.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <nearcell/gpu/cell_store.h>
#include <nearcell/gpu/id_tags.h>
#include <nearcell/gpu/query_steps.h>
#include <nearcell/gpu/session.h>
#include <nearcell/kernels/device.h>

namespace nearcell::gpu {

class HeldCells {
   public:
    static constexpr size_t kScratchPart = 4;  // of the budget, that searches may take at most

    HeldCells(const DeviceOptions& options, MemoryBudget& budget)
        : options_(options), budget_(budget) {
        options_.scratch_bytes = std::min(options.scratch_bytes, budget.limit() / kScratchPart);
    }

    // May throw before all is there; another update() mends that.
    void update(const SearchableCells& cells);

    const DeviceOptions& options() const { return options_; }
    size_t dim() const { return dim_; }
    Metric metric() const { return metric_; }
    Metric coarse_metric() const {
        return is_similarity(metric_) ? Metric::InnerProduct : Metric::L2;
    }
    size_t vectors() const { return vectors_; }
    size_t cell_count() const { return cell_count_; }
    const QuerySteps& steps() const { return steps_; }
    const CellStore& centroids() const { return *centroids_; }  // of no vectors: one cell
    const CellStore& cells() const { return *cells_; }
    const IdTags& tags() const { return tags_; }
    bool has_rerank() const { return has_rerank_; }
    bool rerank_on_device() const { return cells_->rerank_rows() != nullptr; }
    const CodeView& host_rerank_code() const { return host_rerank_code_; }
    std::span<const uint32_t* const> host_rerank_rows() const { return host_rerank_rows_; }

    // In how many parts the cells come; one, all of them, is always there.
    size_t parts() const { return std::max<size_t>(1, parts_.size()); }
    std::mutex& loading() const { return loading_; }
    void load(size_t part, int threads) const;
    // What a cell's places are later by in the whole index; null: nothing.
    const unsigned* place_shifts() const { return parts_.empty() ? nullptr : shifts_.data(); }
    // The cell and slot of a place.
    std::pair<uint32_t, uint32_t> locate(unsigned place) const;
    // What searches since the last update found: 0 no query of which there were more candidates
    // than room; 1 such ones: searches have more room; 2 with that, too, or there was no memory for
    // it: searches look in between.
    static constexpr int kMostCrowding = 2;
    int crowding() const { return crowding_.load(std::memory_order_relaxed); }
    void note_crowding(int crowding) const {
        for (int known = this->crowding(); known < crowding;)
            crowding_.compare_exchange_weak(known, crowding, std::memory_order_relaxed);
    }

   private:
    // Some vectors of each cell, from first_slots on.
    struct Part {
        std::vector<CellView> cells;
        std::vector<size_t> first_slots;
    };

    void make_parts(const SearchableCells& cells, size_t bytes);
    size_t code_bytes(size_t blocks) const;

    DeviceOptions options_;
    MemoryBudget& budget_;
    OwnStream stream_;
    size_t dim_ = 0, vectors_ = 0, cell_count_ = 0;
    Metric metric_ = Metric::L2;
    QuerySteps steps_;
    IdTags tags_;
    uint64_t updates_ = 0;
    bool has_rerank_ = false;
    CodeView code_, host_rerank_code_;
    MatrixView<const float> host_centroids_;
    std::vector<const uint32_t*> host_rerank_rows_;
    std::unique_ptr<CellStore> centroids_, cells_;

    std::vector<Part> parts_;             // none: all cells are on the device
    std::vector<uint64_t> first_blocks_;  // of each cell in the whole index, for parts
    mutable std::atomic<int> crowding_{0};
    mutable std::mutex loading_;
    mutable size_t loaded_ = 0;
    mutable DeviceArray<unsigned> shifts_;
};

}  // namespace nearcell::gpu
