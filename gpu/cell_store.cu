#include <nearcell/gpu/cell_store.h>

#include <algorithm>
#include <numeric>

#include <nearcell/gpu/launch_size.h>
#include <nearcell/gpu/kernels/cell_means.cuh>
#include <nearcell/gpu/kernels/make_byte_tiles.cuh>

namespace nearcell::gpu {
namespace {

constexpr size_t kTurnedBytes = size_t{16} << 20;  // of codes that are turned at a time
constexpr size_t kScratchesLeft = 2;               // that byte tiles leave memory for
constexpr size_t kSpare = 4;  // a part of what is laid out anew after changes is room to grow

template <class T>
DeviceArray<T> copy_of(const T* host, size_t count, MemoryBudget& budget, simt::Stream stream,
                       const char* what) {
    if (host == nullptr || count == 0) return {};
    DeviceArray<T> array(count, stream, budget, what);
    array.copy_from(host, count);
    return array;
}

// Replaces an array that is too small or more than twice too large.
template <class T>
void resize(DeviceArray<T>& array, size_t count, MemoryBudget& budget, simt::Stream stream) {
    if (array.size() >= count && array.size() <= 2 * count) return;
    array = DeviceArray<T>();
    array = DeviceArray<T>(count, stream, budget, "tables");
}

}  // namespace

void CellStore::add_range(std::vector<BlockRange>& ranges, const BlockRange& range) {
    if (!ranges.empty() && ranges.back().to + ranges.back().blocks == range.to)
        ranges.back().blocks += range.blocks;
    else
        ranges.push_back(range);
}

DeviceCode::DeviceCode(const CodeView& host, MemoryBudget& budget, simt::Stream stream)
    : view_(host) {
    constexpr const char* kWhat = "a codec's parameters";
    const size_t ksub = host.kind == CodeKind::Product4 ? 16 : 256;
    offset_ = copy_of(host.offset, host.dim, budget, stream, kWhat);
    step_ = copy_of(host.step, host.dim, budget, stream, kWhat);
    sub_begin_ = copy_of(host.sub_begin, host.subquantizers + 1, budget, stream, kWhat);
    codebooks_ = copy_of(host.codebooks, ksub * host.dim, budget, stream, kWhat);
    view_.offset = offset_.data();
    view_.step = step_.data();
    view_.sub_begin = sub_begin_.data();
    view_.codebooks = codebooks_.data();
}

StoredCodes CellStore::codes() const {
    StoredCodes codes{};
    codes.code = code_.view();
    codes.blocks = blocks_.data();
    codes.tags = tags_.data();
    codes.chunks = chunks_.data();
    codes.centroids = centroids_.data();
    codes.residual = residual_;
    if (!tiles_rows_) codes.tiles = tiles(codes.code.dim);
    return codes;
}

StoredCodes CellStore::rows() const {
    StoredCodes rows{};
    rows.code = rerank_code_.view();
    rows.blocks = rerank_rows_.data();
    rows.tags = tags_.data();
    rows.chunks = chunks_.data();
    rows.centroids = row_means_.data();
    if (tiles_rows_) rows.tiles = tiles(rows.code.dim);
    return rows;
}

size_t CellStore::most_chunks(size_t probes) const {
    return chunk_sums_.empty() ? 0 : chunk_sums_[std::min(probes, chunk_sums_.size()) - 1];
}

std::pair<uint32_t, uint32_t> CellStore::locate(unsigned place) const {
    const uint32_t cell = host_cell_of_block_[place / kBlock];
    return {cell, static_cast<uint32_t>(place - held_[cell].first_block * kBlock)};
}

void CellStore::set_parameters(const SearchableCells& cells) {
    code_ = DeviceCode();
    rerank_code_ = DeviceCode();
    code_ = DeviceCode(cells.code, budget_, stream_);
    if (cells.rerank) rerank_code_ = DeviceCode(*cells.rerank, budget_, stream_);
    tiles_rows_ = tiles_rows(cells);
    residual_ = !cells.cells.empty() && cells.cells[0].centroid != nullptr;
    const MatrixView<const float> centroids = cells.centroids;
    centroids_ = DeviceArray<float>();
    centroids_ =
        copy_of(centroids.data, centroids.rows * centroids.cols, budget_, stream_, "centroids");
}

void CellStore::replace(const SearchableCells& cells, const IdTags& tags, int threads) {
    set_parameters(cells);
    held_.assign(cells.cells.size(), HeldCell());
    lay_out(cells, false);
    tag_version_ = tags.version();
    copy_cells(cells, tags, all_cells(), threads);
    copy_tables();
    make_tiles();
}

void CellStore::update(const SearchableCells& cells, const IdTags& tags, int threads) {
    set_parameters(cells);
    held_.resize(cells.cells.size());
    std::vector<size_t> changed = changed_cells(cells);
    if (blocks_.data() == nullptr || !find_room(cells, changed)) {
        lay_out(cells, blocks_.data() != nullptr && spare_fits(cells));
        changed = all_cells();
    } else if (tag_version_ != tags.version()) {
        changed = all_cells();
    }
    tag_version_ = tags.version();
    copy_cells(cells, tags, changed, threads);
    copy_tables();
    make_tiles();
    simt::synchronize(stream_);
}

// Whether there is memory for room to grow, when what is there now is gone.
bool CellStore::spare_fits(const SearchableCells& cells) const {
    size_t blocks = 0;
    for (const CellView& cell : cells.cells)
        blocks += blocks_for(cell.size) + blocks_for(cell.size) / kSpare + 1;
    blocks += blocks / kSpare;
    const size_t rows = holds_rerank(cells) ? cells.rerank->words : 0;
    const size_t words = cells.code.words + rows + tile_words(cells) + 1;
    const size_t wanted = blocks * kBlock * words * sizeof(uint32_t);
    const size_t others = budget_.used() - std::min(budget_.used(), memory_bytes());
    const size_t taken = others + options_.left_bytes;
    return taken <= budget_.limit() && wanted <= budget_.limit() - taken;
}

// Of each vector, if all of them fit.
size_t CellStore::tile_words(const SearchableCells& cells) const {
    const CodeView* const tiled = tiled_code(cells);
    if (options_.tiles == KeptTiles::None || tiled == nullptr) return 0;
    const size_t values = options_.tiles == KeptTiles::Values ? tile_steps(tiled->dim) * 8 : 0;
    return values + sizeof(ByteTerms) / sizeof(uint32_t);
}

std::vector<size_t> CellStore::all_cells() const {
    std::vector<size_t> all(held_.size());
    std::iota(all.begin(), all.end(), size_t{0});
    return all;
}

std::vector<size_t> CellStore::changed_cells(const SearchableCells& cells) const {
    std::vector<size_t> changed;
    for (size_t c = 0; c < held_.size(); ++c) {
        const HeldCell& held = held_[c];
        if (held.version != cells.cells[c].version || held.size != cells.cells[c].size)
            changed.push_back(c);
    }
    return changed;
}

// Whether the changed cells fit where they are or behind all others, where those that do not get
// room.
bool CellStore::find_room(const SearchableCells& cells, const std::vector<size_t>& changed) {
    size_t end = used_blocks_;
    std::vector<HeldCell> moved = held_;
    for (const size_t c : changed) {
        const size_t wanted = blocks_for(cells.cells[c].size);
        if (wanted <= moved[c].capacity) continue;
        const size_t capacity = wanted + wanted / kSpare + 1;
        if (capacity > capacity_blocks_ - end) return false;
        moved[c].first_block = end;
        moved[c].capacity = capacity;
        moved[c].version.reset();
        end += capacity;
    }
    held_.swap(moved);
    used_blocks_ = end;
    return true;
}

// Gives all cells room, in their order; with `spare`, to grow. What was copied before is gone.
void CellStore::lay_out(const SearchableCells& cells, bool spare) {
    blocks_ = DeviceArray<uint32_t>();
    rerank_rows_ = DeviceArray<uint32_t>();
    tags_ = DeviceArray<unsigned>();
    tile_values_ = DeviceArray<uint32_t>();
    tile_terms_ = DeviceArray<ByteTerms>();
    row_means_ = DeviceArray<float>();
    size_t total = 0;
    for (size_t c = 0; c < held_.size(); ++c) {
        const size_t wanted = blocks_for(cells.cells[c].size);
        held_[c] = {total, wanted + (spare ? wanted / kSpare + 1 : 0), 0, std::nullopt};
        total += held_[c].capacity;
    }
    used_blocks_ = total;
    capacity_blocks_ = total + (spare ? total / kSpare : 0);
    check(capacity_blocks_ <= kMostBlocks, StatusCode::Unsupported, "the index has ", total,
          " blocks of ", kBlock, " vectors, but a device takes at most ", kMostBlocks,
          ": search parts of it, or use cpu");
    DeviceArray<uint32_t> codes(capacity_blocks_ * kBlock * cells.code.words, stream_, budget_,
                                "codes");
    tags_ = DeviceArray<unsigned>(capacity_blocks_ * kBlock, stream_, budget_, "ids");
    if (holds_rerank(cells)) {
        rerank_rows_ = DeviceArray<uint32_t>(capacity_blocks_ * kBlock * cells.rerank->words,
                                             stream_, budget_, "the re-rank store");
    }
    tags_.fill_zero();
    codes.fill_zero();
    if (tiles_rows_) rerank_rows_.fill_zero();  // tiles are made of all
    make_room_for_tiles(cells);
    blocks_ = std::move(codes);
}

// None where they are not wanted, there are none for such codes, or memory is short. Who does not
// want values of re-rank rows wants the codes' bounds to decide.
void CellStore::make_room_for_tiles(const SearchableCells& cells) {
    const CodeView* const code = tiled_code(cells);
    if (options_.tiles == KeptTiles::None || code == nullptr || code->dim > kMostTileDim) return;
    const bool values = options_.tiles == KeptTiles::Values;
    if (values && make_room_for_tiles(*code, true)) return;
    if (tile_steps(code->dim) <= kMadeSteps && (values || !tiles_rows_))
        make_room_for_tiles(*code, false);
}

bool CellStore::make_room_for_tiles(const CodeView& code, bool with_values) {
    const size_t places = capacity_blocks_ * kBlock;
    const size_t words = with_values ? places * tile_steps(code.dim) * 8 : 0;
    const size_t means = tiles_rows_ ? held_.size() * code.dim : 0;
    const size_t turned =
        tiles_rows_ ? 0 : std::min(kTurnedBytes, places * code.words * sizeof(uint32_t));
    const size_t wanted = (words + means) * sizeof(uint32_t) + places * sizeof(ByteTerms) + turned;
    const size_t taken = budget_.used() + kScratchesLeft * options_.left_bytes;
    if (places == 0 || taken > budget_.limit() || wanted > budget_.limit() - taken) return false;
    try {
        DeviceArray<uint32_t> values;
        DeviceArray<float> row_means;
        if (words > 0) values = DeviceArray<uint32_t>(words, stream_, budget_, "byte tiles");
        if (means > 0) row_means = DeviceArray<float>(means, stream_, budget_, "byte tiles");
        tile_terms_ = DeviceArray<ByteTerms>(places, stream_, budget_, "byte tiles");
        tile_values_ = std::move(values);
        row_means_ = std::move(row_means);
    } catch (const Error& error) {  // others have the memory
        if (error.code() != StatusCode::OutOfMemory) throw;
        return false;
    }
    return true;
}

void CellStore::copy_codes(const SearchableCells& cells, const std::vector<size_t>& which,
                           StagedCopy& copy) {
    if (codes().tiles.terms != nullptr) return copy_turned(cells, which, copy);
    const size_t block_words = cells.code.words * kBlock;
    for (const size_t c : which) {
        const CellView& cell = cells.cells[c];
        copy.add(blocks_.data() + held_[c].first_block * block_words, cell.blocks,
                 blocks_for(cell.size) * block_words * sizeof(uint32_t));
    }
    copy.finish();
}

// Some blocks at a time to another place, from where they are turned.
void CellStore::copy_turned(const SearchableCells& cells, const std::vector<size_t>& which,
                            StagedCopy& copy) {
    const size_t block_words = cells.code.words * kBlock;
    const size_t block_bytes = block_words * sizeof(uint32_t);
    size_t all = 0;
    for (const size_t c : which)
        all += blocks_for(cells.cells[c].size);
    if (all == 0) return;
    const size_t room = std::clamp<size_t>(kTurnedBytes / block_bytes, 1, all);
    const DeviceArray<uint32_t> beside(room * block_words, stream_, budget_, "codes");
    std::vector<BlockRange> ranges;
    size_t used = 0;
    for (const size_t c : which) {
        const CellView& cell = cells.cells[c];
        for (size_t block = 0; block < blocks_for(cell.size);) {
            const size_t some = std::min(room - used, blocks_for(cell.size) - block);
            copy.add(beside.data() + used * block_words, cell.blocks + block * block_bytes,
                     some * block_bytes);
            add_range(ranges, {used, held_[c].first_block + block, some});
            used += some;
            block += some;
            all -= some;
            if (used < room && all > 0) continue;
            copy.finish();
            for (const BlockRange& range : ranges)
                turn(range, beside.data(), cells.code.words);
            ranges.clear();
            used = 0;
        }
    }
    simt::synchronize(stream_);  // before what is beside goes
}

void CellStore::turn(const BlockRange& range, const uint32_t* from, size_t words) {
    simt::launch({"turn_blocks", static_cast<unsigned>(range.blocks), kMakeThreads, 0, stream_},
                 turn_blocks, from + range.from * words * kBlock, static_cast<unsigned>(words),
                 blocks_.data() + range.to * words * kBlock);
}

void CellStore::copy_cells(const SearchableCells& cells, const IdTags& id_tags,
                           const std::vector<size_t>& which, int threads) {
    for (const size_t c : which)
        held_[c].version.reset();
    StagedCopy copy(stream_, threads);
    copy_codes(cells, which, copy);
    std::vector<size_t> starts(which.size() + 1, 0);
    for (size_t i = 0; i < which.size(); ++i)
        starts[i + 1] = starts[i] + blocks_for(cells.cells[which[i]].size) * kBlock;
    std::vector<unsigned> tags(starts.back(), 0);
    parallel_for(which.size(), threads, [&](size_t i, int) {
        const CellView& cell = cells.cells[which[i]];
        for (size_t slot = 0; slot < cell.size; ++slot)
            tags[starts[i] + slot] =
                cell.ids == nullptr ? static_cast<unsigned>(slot) : id_tags.tag_of(cell.ids[slot]);
    });
    for (size_t i = 0; i < which.size(); ++i) {
        copy.add(tags_.data() + held_[which[i]].first_block * kBlock, tags.data() + starts[i],
                 (starts[i + 1] - starts[i]) * sizeof(unsigned));
    }
    copy.finish();
    for (const size_t c : which) {
        if (!holds_rerank(cells)) break;
        const size_t words = cells.rerank->words;
        copy.add(rerank_rows_.data() + held_[c].first_block * kBlock * words, cells.rerank_rows[c],
                 cells.cells[c].size * words * sizeof(uint32_t));
    }
    copy.finish();
    for (const size_t c : which) {
        held_[c].size = cells.cells[c].size;
        held_[c].version = cells.cells[c].version;
    }
}

void CellStore::copy_tables() {
    std::vector<Chunk> chunks;
    std::vector<unsigned> first{0};
    std::vector<size_t> counts;
    host_cell_of_block_.assign(used_blocks_, 0);
    vectors_ = 0;
    for (size_t c = 0; c < held_.size(); ++c) {
        const HeldCell& held = held_[c];
        vectors_ += held.size;
        std::fill_n(host_cell_of_block_.begin() + static_cast<ptrdiff_t>(held.first_block),
                    held.capacity, static_cast<uint32_t>(c));
        for (size_t slot = 0; slot < held.size; slot += chunk_vectors()) {
            chunks.push_back({static_cast<unsigned>(held.first_block + slot / kBlock),
                              static_cast<unsigned>(std::min(chunk_vectors(), held.size - slot)),
                              static_cast<unsigned>(c)});
        }
        counts.push_back(chunks.size() - first.back());
        first.push_back(static_cast<unsigned>(chunks.size()));
    }
    chunk_count_ = static_cast<unsigned>(chunks.size());
    std::sort(counts.begin(), counts.end(), std::greater<>());
    chunk_sums_.resize(counts.size());
    std::partial_sum(counts.begin(), counts.end(), chunk_sums_.begin());
    resize(chunks_, chunks.size(), budget_, stream_);
    resize(chunk_first_, first.size(), budget_, stream_);
    resize(cell_of_block_, used_blocks_, budget_, stream_);
    chunks_.copy_from(chunks.data(), chunks.size());
    chunk_first_.copy_from(first.data(), first.size());
    cell_of_block_.copy_from(host_cell_of_block_.data(), host_cell_of_block_.size());
    simt::synchronize(stream_);
}

// Of all vectors, whichever changed: as the tables, which are made anew as well.
void CellStore::make_tiles() {
    const size_t used = used_blocks_ * kBlock;
    if (tile_terms_.data() == nullptr || used == 0) return;
    if (tiles_rows_) make_row_means();
    const StoredCodes tiled = tiles_rows_ ? rows() : codes();
    simt::launch({"make_byte_tiles", blocks_of(used, kMakeThreads), kMakeThreads, 0, stream_},
                 make_byte_tiles_kernel(tiled.code.kind), tiled, cell_of_block_.data(), used,
                 tile_values_.data(), tile_terms_.data());
}

void CellStore::make_row_means() {
    const StoredCodes stored = rows();
    const dim3 grid(static_cast<unsigned>(held_.size()),
                    static_cast<unsigned>(ceil_divide(stored.code.dim, size_t{kCellThreads})));
    simt::launch({"mean_of_cells", grid, kCellThreads, 0, stream_},
                 mean_of_cells_kernel(stored.code.kind), stored, chunk_first_.data(),
                 row_means_.data());
}

}  // namespace nearcell::gpu
