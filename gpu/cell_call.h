// CellCall: one caller's search on a device, batch by batch: queries up and through their steps,
// the probes among the centroids, the scan of each part of the cells, re-ranking there or on the
// host, answers down. One thread.
#pragma once

#include <array>
#include <span>
#include <vector>

#include <nearcell/gpu/chunk_search.h>
#include <nearcell/gpu/held_cells.h>

namespace nearcell::gpu {

class CellCall {
   public:
    CellCall(const HeldCells& held, Session& session, const simt::DeviceProperties& device,
             const DeviceSearch& search);

    // How many queries at a time.
    size_t batch_queries() const;
    // These wait for their end. They throw where a query is not one: NonFinite or InvalidArgument,
    // as check_finite; answers on the device mean nothing then.
    void search(const DeviceBatch& batch, size_t first, size_t count);
    // Hits of queries [first, first + count), best first.
    void range(const DeviceBatch& batch, size_t first, size_t count, float radius,
               float scan_radius, std::span<std::vector<Candidate>> hits);
    // What was done so far.
    SearchStats stats() const;

   private:
    void start_counting();
    bool search_at(int crowding, const DeviceBatch& batch, size_t first, size_t count);
    void search_once(const DeviceBatch& batch, size_t first, size_t count);
    ChunkSearchOptions coarse_options() const;
    size_t scan_bytes() const;
    size_t most_queries() const;
    ChunkQueries prepare(const DeviceBatch& batch, size_t first, size_t count);
    void scan_parts(const ChunkQueries& queries, BestLists best);
    void scan_part(const ChunkQueries& queries, BestLists best, float* limits);
    void make_masks();
    BestLists make_lists(size_t count, size_t k);
    void empty_lists(BestLists lists, size_t count);
    void answer(const DeviceBatch& batch, size_t first, size_t count, BestLists best);
    void see_counters(const DeviceBatch& batch);
    void take_counters(const DeviceBatch& batch, const unsigned long long* counters);
    void check_values(const DeviceBatch& batch) const;
    Candidate candidate_of(uint64_t packed, unsigned place) const;
    void score_on_host(const ChunkQueries& queries, std::span<std::vector<Candidate>> lists,
                       size_t k);
    void rerank_on_host(const DeviceBatch& batch, size_t first, const ChunkQueries& queries,
                        BestLists best);

    const HeldCells& held_;
    Session& session_;
    const simt::DeviceProperties& device_;
    const DeviceSearch& search_;
    ChunkSearchOptions options_;
    bool by_rows_ = false;  // the re-rank store decides afterwards
    IdFilterRule rule_;     // with the device's pointers; All: there is no filter
    // Of cells, of centroids, of re-ranking: vectors scanned and scored; what QuerySteps::load says
    // of values; how many queries were crowded. On the device, and as last seen.
    unsigned long long* counters_;
    std::array<unsigned long long, kCallCounters> counted_{};
    bool is_unfinished_ = false;  // a search has counted on the device what does not count
    RoundCount* coarse_rounds_;   // as ChunkSearchOptions::rounds; null once they were used
    uint64_t host_scored_ = 0;
};

}  // namespace nearcell::gpu
