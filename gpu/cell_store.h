// CellStore: the cells of an index on a device: codes in CodeView's blocks (beside their byte tiles
// a vector's words in a row), a tag each, re-rank rows by place, and the tables that say where
// cells and chunks are (gpu/kernels/cell_layout.cuh). Made equal to the host's cells by update(),
// which copies those that changed. A cell that outgrows its room moves to the end; when there is no
// room either, all are laid out anew. Cost: the bytes of the codes and 4 a vector, and, unless it
// is left on the host, the re-rank store; then, where they are wanted and fit, byte tiles, a byte a
// dimension and 16 a vector, or of few dimensions the 16 alone: of the re-rank rows, where these
// decide (SearchableCells::refines), else of the codes. Thread safety: update() excludes all else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <nearcell/gpu/device_array.h>
#include <nearcell/gpu/id_tags.h>
#include <nearcell/gpu/staged_copy.h>
#include <nearcell/kernels/device.h>
#include <nearcell/gpu/kernels/cell_layout.cuh>

namespace nearcell::gpu {

// A CodeView whose pointers are the device's.
class DeviceCode {
   public:
    DeviceCode() = default;
    DeviceCode(const CodeView& host, MemoryBudget& budget, simt::Stream stream);
    const CodeView& view() const { return view_; }

   private:
    CodeView view_;
    DeviceArray<float> offset_, step_, codebooks_;
    DeviceArray<uint32_t> sub_begin_;
};

// Byte tiles, where they fit: none; their terms, of which scans make values; values, too.
enum class KeptTiles { None, Terms, Values };
struct StoreOptions {
    size_t chunk_blocks = 0;  // 0: kChunkBlocks
    bool rerank_on_host = false;
    KeptTiles tiles = KeptTiles::None;
    size_t left_bytes = 0;  // of the budget, which room to grow shall not take
};
constexpr size_t kChunkBlocks = 64;
constexpr size_t kMostBlocks = (size_t{1} << 32) / kBlock - 1;  // places are 32 bits

class CellStore {
   public:
    CellStore(const StoreOptions& options, MemoryBudget& budget, simt::Stream stream)
        : options_(options), budget_(budget), stream_(stream) {}

    // Throws OutOfMemory, and Unsupported for 2^32 places or more; then the store is incomplete,
    // until another update succeeds.
    void update(const SearchableCells& cells, const IdTags& tags, int threads);
    // The same for cells that have nothing to do with those that were there.
    void replace(const SearchableCells& cells, const IdTags& tags, int threads);

    StoredCodes codes() const;  // with byte tiles, if they are of the codes
    // The re-rank rows as codes that lie in rows, with byte tiles, if they are of these.
    StoredCodes rows() const;
    size_t vectors() const { return vectors_; }
    size_t blocks() const { return used_blocks_; }
    unsigned chunk_count() const { return chunk_count_; }
    size_t chunk_vectors() const { return chunk_blocks() * kBlock; }
    // Chunks of the `probes` cells that have most, and of the largest alone.
    size_t most_chunks(size_t probes) const;
    const unsigned* chunk_first() const { return chunk_first_.data(); }
    const unsigned* cell_of_block() const { return cell_of_block_.data(); }
    bool rerank_on_host() const { return options_.rerank_on_host; }
    // Re-rank rows by place; null: there are none here.
    const uint32_t* rerank_rows() const { return rerank_rows_.data(); }
    const CodeView& rerank_code() const { return rerank_code_.view(); }
    // The cell and slot of a place that holds a vector.
    std::pair<uint32_t, uint32_t> locate(unsigned place) const;
    size_t first_place(size_t cell) const { return held_[cell].first_block * kBlock; }
    // Of what grows with the vectors.
    size_t memory_bytes() const {
        return blocks_.bytes() + rerank_rows_.bytes() + tags_.bytes() + cell_of_block_.bytes() +
               chunks_.bytes() + chunk_first_.bytes() + tile_values_.bytes() + tile_terms_.bytes() +
               row_means_.bytes();
    }

   private:
    struct HeldCell {
        size_t first_block = 0, capacity = 0;  // blocks
        size_t size = 0;
        std::optional<uint64_t> version;  // none: not copied
    };
    // Blocks that lie in a row in two places.
    struct BlockRange {
        size_t from, to, blocks;
    };

    size_t chunk_blocks() const {
        return options_.chunk_blocks == 0 ? kChunkBlocks : options_.chunk_blocks;
    }
    bool holds_rerank(const SearchableCells& cells) const {
        return cells.rerank && !options_.rerank_on_host;
    }
    bool tiles_rows(const SearchableCells& cells) const {
        return cells.refines && holds_rerank(cells);
    }
    // What byte tiles are of; null: there are none of such cells.
    const CodeView* tiled_code(const SearchableCells& cells) const {
        if (tiles_rows(cells)) return &*cells.rerank;
        return cells.code.kind == CodeKind::Bits ? nullptr : &cells.code;
    }
    ByteTiles tiles(size_t dim) const {
        return {reinterpret_cast<const uint4*>(tile_values_.data()), tile_terms_.data(),
                tile_steps(dim)};
    }
    void set_parameters(const SearchableCells& cells);
    std::vector<size_t> all_cells() const;
    std::vector<size_t> changed_cells(const SearchableCells& cells) const;
    bool find_room(const SearchableCells& cells, const std::vector<size_t>& changed);
    bool spare_fits(const SearchableCells& cells) const;
    void lay_out(const SearchableCells& cells, bool spare);
    void copy_cells(const SearchableCells& cells, const IdTags& tags,
                    const std::vector<size_t>& which, int threads);
    size_t tile_words(const SearchableCells& cells) const;
    void make_room_for_tiles(const SearchableCells& cells);
    bool make_room_for_tiles(const CodeView& code, bool with_values);
    void copy_codes(const SearchableCells& cells, const std::vector<size_t>& which,
                    StagedCopy& copy);
    void copy_turned(const SearchableCells& cells, const std::vector<size_t>& which,
                     StagedCopy& copy);
    static void add_range(std::vector<BlockRange>& ranges, const BlockRange& range);
    void turn(const BlockRange& range, const uint32_t* from, size_t words);
    void copy_tables();
    void make_tiles();
    void make_row_means();

    StoreOptions options_;
    MemoryBudget& budget_;
    simt::Stream stream_;
    DeviceCode code_, rerank_code_;
    bool residual_ = false, tiles_rows_ = false;
    DeviceArray<float> centroids_, row_means_;  // of each cell
    DeviceArray<uint32_t> blocks_, rerank_rows_;
    DeviceArray<unsigned> tags_, cell_of_block_, chunk_first_;
    DeviceArray<Chunk> chunks_;
    DeviceArray<uint32_t> tile_values_;
    DeviceArray<ByteTerms> tile_terms_;
    uint64_t tag_version_ = 0;
    std::vector<HeldCell> held_;
    std::vector<uint32_t> host_cell_of_block_;
    std::vector<size_t> chunk_sums_;  // of the cells that have most, the most first
    size_t vectors_ = 0, used_blocks_ = 0, capacity_blocks_ = 0;
    unsigned chunk_count_ = 0;
};

}  // namespace nearcell::gpu
