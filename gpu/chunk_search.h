// ChunkSearch: one call's way through a CellStore, in rounds: the nearest chunks of each query give
// it a limit, under which few of the next, so many times as many, pass, and so on. Where the store
// has byte tiles, rounds only narrow down what can be among the best, and what is left in the end
// is scored. Where it has none and many queries share chunks, tensor cores say what can pass, and
// only that is scored. What is found is the same in any case. Nothing waits for the host but the
// end, when it looks whether all candidates had room; queries of which more were found are searched
// again, with as much room as they want. Few queries have room for all that they can find, and
// fewer rounds: then it does not wait. For host code of the GPU backend. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include <nearcell/gpu/cell_store.h>
#include <nearcell/gpu/session.h>

namespace nearcell::gpu {

struct SearchStart;

// Queries on the device.
struct ChunkQueries {
    size_t count = 0;
    const float* coded = nullptr;     // as the codes have them
    const float* original = nullptr;  // as the re-rank rows have them
    Probes probes{};
    size_t dim = 0, original_dim = 0;

    ChunkQueries slice(size_t first, size_t count) const;
    ChunkQueries as_rows() const;  // whose codes are the re-rank rows
};

struct ChunkSearchOptions {
    Metric metric = Metric::L2;
    size_t k = 10;
    // Bits only: the re-rank store scores what may be among the best: by its byte tiles, where it
    // has them, else candidates are those whose least key may be in reach.
    bool refined = false;
    float margin = 1;
    float reach = std::numeric_limits<float>::infinity();
    const unsigned short* masks = nullptr;
    // With byte tiles and Float32 codes, of a coarse step: keys may have the bits of another order
    // of dimensions, and those of vectors that surely are among the best need not be exact.
    bool probes = false, inexact_keys = false;
    // With byte tiles: chunks looked at next are so many times those before, and limits come from
    // so many vectors of the first.
    size_t growth = 8, sample = 256;
    size_t room = 0;            // candidates of a query; 0: chosen
    bool roomy = false;         // or more, up to half of the scratch that is left
    size_t shared_queries = 0;  // of a chunk, from which on tensor cores scan it; 0: chosen
    size_t scratch_bytes = size_t{512} << 20;  // for queries that want more room
    // On the device: vectors scanned, and candidates scored, to which a search adds.
    unsigned long long* counters = nullptr;
    // On the device, and not null: with byte tiles a search adds how many queries found more
    // candidates than there is room for, and leaves it to the caller to search again without this;
    // else it waits, to see for itself.
    unsigned long long* crowded = nullptr;
    // On the device: kMostRounds numbers that are 0 still, for one search; null: it makes its own.
    RoundCount* rounds = nullptr;
};

// What a range search found of one query: packed keys and places, in any order.
struct RangeHits {
    std::vector<uint64_t> keys;
    std::vector<unsigned> places;
};

class ChunkSearch {
   public:
    ChunkSearch(const CellStore& store, Session& session, const simt::DeviceProperties& device,
                const ChunkSearchOptions& options);

    static bool scans_tiles(const CellStore& store, const ChunkSearchOptions& options);
    // Scratch that a search takes for each query, about.
    static size_t bytes_per_query(const CellStore& store, const ChunkSearchOptions& options,
                                  size_t width);

    // The k best of each query, in order; `best` has room for them. Of what exceeds a query's
    // limit, where there are limits, none need be found.
    void search(const ChunkQueries& queries, BestLists best, const float* limits = nullptr);
    // The best of two sets of lists, of other places each, to `best`, in order; limits as above.
    void merge(size_t queries, BestLists more, BestLists best, float* limits);
    // The best of what `from` holds by their re-rank rows, in order.
    void rerank(const ChunkQueries& queries, BestLists from, BestLists to);
    // Every vector whose key is at most the limit; scored by the re-rank rows where `by_rows`; then
    // the limit is of the codes' keys.
    std::vector<RangeHits> range(const ChunkQueries& queries, float limit, bool by_rows);

   private:
    struct Buffers;
    struct Round {
        unsigned first_rank, begin, end;
        size_t chunks() const { return end - begin; }
    };

    size_t room_of(size_t queries, size_t width, size_t all) const;
    Buffers make_buffers(const ChunkQueries& queries, size_t room, size_t most_chunks,
                         BestLists best, const float* limits);
    unsigned* search_with(const ChunkQueries& queries, size_t room, BestLists best,
                          const float* limits);
    void search_crowded(const ChunkQueries& queries, const std::vector<unsigned>& which,
                        size_t room, BestLists best, const float* limits);
    template <class T>
    const T* gather_values(const T* from, const unsigned* rows, size_t count, size_t width);
    ChunkQueries gather(const ChunkQueries& queries, const unsigned* rows, size_t count);
    void run_rounds(const ChunkQueries& queries, Buffers& buffers, unsigned first_rank,
                    unsigned first, size_t most_chunks);
    size_t growth_of(size_t queries) const;
    void run_round(const ChunkQueries& queries, Buffers& buffers, const Round& round);
    void make_pairs(const ChunkQueries& queries, Buffers& buffers, const Round& round,
                    unsigned long long* scanned);
    void start(const SearchStart& job);
    simt::LaunchShape shape(const char* kernel, dim3 grid, unsigned threads, size_t queries,
                            size_t shared_bytes = 0) const;
    RoundCount* zero_rounds();
    void sort(size_t queries, BestLists best);
    void scan(const ChunkQueries& queries, const Buffers& buffers, bool by_products);
    void scan_tiles(const ChunkQueries& queries, const Buffers& buffers, const Round& round,
                    unsigned sample, unsigned* uppers);
    size_t sample_size() const;
    void take_samples(const ChunkQueries& queries, const Buffers& buffers, size_t size);
    bool sorts_pairs(const ChunkQueries& queries, const Buffers& buffers) const;
    void narrow(const ChunkQueries& queries, const Buffers& buffers);
    void settle(const ChunkQueries& queries, const Buffers& buffers);
    void score(const ChunkQueries& queries, const CandidateLists& lists, bool by_rows);
    bool uses_products(const ChunkQueries& queries, const Round& round) const;
    std::vector<unsigned> range_with(const ChunkQueries& queries, float limit, bool by_rows,
                                     size_t room, std::vector<RangeHits>& hits);
    std::vector<unsigned> download(const unsigned* values, size_t count) const;

    const CellStore& store_;
    Session& session_;
    simt::DeviceProperties device_;
    ChunkSearchOptions options_;
    StoredCodes stored_;
    ChunkScanKernel product_scan_;  // null: the device has none for these codes
    bool by_tiles_, by_rows_;       // byte tiles, and these of the re-rank rows
    size_t room_;
    bool again_ = false;  // queries that were counted already
};

}  // namespace nearcell::gpu
