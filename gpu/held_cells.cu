#include <nearcell/gpu/held_cells.h>

#include <algorithm>
#include <numeric>

#include <nearcell/core/error.h>

namespace nearcell::gpu {
namespace {

constexpr size_t kNone = static_cast<size_t>(-1);
// Of the budget that is left, what codes may take beside the tables of cells and chunks.
constexpr size_t kCodeShare = 15, kOfShares = 16;

// Numbers below `count`, by steps of the golden ratio.
std::vector<int64_t> even_order(size_t count) {
    auto step = static_cast<size_t>(static_cast<double>(count) * 0.6180339887498949);
    step = std::max<size_t>(step, 1);
    while (std::gcd(step, count) > 1)
        ++step;
    std::vector<int64_t> order(count);
    for (size_t i = 0; i < count; ++i)
        order[i] = static_cast<int64_t>(i * step % count);
    return order;
}

std::vector<float> rows_of(MatrixView<const float> all, const std::vector<int64_t>& which) {
    std::vector<float> rows;
    rows.reserve(which.size() * all.cols);
    for (const int64_t i : which) {
        const float* const row = all.row(static_cast<size_t>(i));
        rows.insert(rows.end(), row, row + all.cols);
    }
    return rows;
}

// What centroids are moved by before they are rounded to bytes.
std::vector<float> mean_of(MatrixView<const float> rows) {
    if (rows.rows == 0) return {};
    std::vector<double> sums(rows.cols, 0.0);
    for (size_t i = 0; i < rows.rows; ++i) {
        for (size_t j = 0; j < rows.cols; ++j)
            sums[j] += static_cast<double>(rows.row(i)[j]);
    }
    std::vector<float> mean(rows.cols);
    for (size_t j = 0; j < rows.cols; ++j)
        mean[j] = static_cast<float>(sums[j] / static_cast<double>(rows.rows));
    return mean;
}

}  // namespace

// Codes, tags, and which cell it is of.
size_t HeldCells::code_bytes(size_t blocks) const {
    return blocks * ((code_.words + 1) * kBlock * sizeof(uint32_t) + sizeof(unsigned));
}

void HeldCells::update(const SearchableCells& cells) {
    crowding_ = 0;
    dim_ = cells.dim;
    metric_ = cells.metric;
    cell_count_ = cells.cells.size();
    code_ = cells.code;
    host_centroids_ = cells.centroids;
    has_rerank_ = cells.rerank.has_value();
    host_rerank_rows_.assign(cells.rerank_rows.begin(), cells.rerank_rows.end());
    if (has_rerank_) host_rerank_code_ = *cells.rerank;
    steps_.set(cells.steps, cells.dim, budget_, stream_.get());
    tags_.update(cells.cells, budget_, stream_.get());

    // In an order in which a few are like all; ids are their numbers.
    const std::vector<int64_t> order = even_order(cells.centroids.rows);
    const std::vector<float> rows = rows_of(cells.centroids, order);
    const FloatBlocks blocks({rows.data(), cells.centroids.rows, cells.centroids.cols});
    CellView all;
    all.blocks = reinterpret_cast<const uint8_t*>(blocks.data());
    all.ids = order.data();
    all.size = cells.centroids.rows;
    all.version = ++updates_;
    SearchableCells coarse;
    coarse.dim = coarse.code.dim = coarse.code.words = cells.centroids.cols;
    coarse.metric = coarse_metric();
    coarse.cells = {&all, 1};
    const std::vector<float> middle = mean_of(cells.centroids);
    if (!middle.empty()) coarse.centroids = {middle.data(), 1, middle.size()};
    const StoreOptions plain{options_.chunk_blocks, true, KeptTiles::Values,
                             options_.scratch_bytes};
    if (!centroids_) centroids_ = std::make_unique<CellStore>(plain, budget_, stream_.get());
    centroids_->update(coarse, IdTags(), 0);

    size_t total_blocks = 0, held_bytes = cells_ ? cells_->memory_bytes() : 0;
    vectors_ = 0;
    for (const CellView& cell : cells.cells) {
        vectors_ += cell.size;
        total_blocks += blocks_for(cell.size);
    }
    const size_t used = budget_.used() - std::min(budget_.used(), held_bytes);
    const size_t taken = std::min(budget_.limit(), used + options_.scratch_bytes);
    const size_t room = (budget_.limit() - taken) / kOfShares * kCodeShare;
    const bool whole = code_bytes(total_blocks) <= room;
    const size_t rerank_words = has_rerank_ ? cells.rerank->words : 0;
    const size_t rows_bytes = total_blocks * kBlock * rerank_words * sizeof(uint32_t);
    const bool rows_fit = whole && rows_bytes <= room - code_bytes(total_blocks);
    const KeptTiles wanted = options_.byte_tiles ? KeptTiles::Values : KeptTiles::Terms;
    const StoreOptions store{options_.chunk_blocks, options_.rerank_on_host || !rows_fit,
                             whole && metric_ != Metric::L1 ? wanted : KeptTiles::None,
                             options_.scratch_bytes};
    // With parts, or without them now, or where the re-rank rows lie elsewhere: from the beginning.
    if (!cells_ || !whole || !parts_.empty() || store.rerank_on_host != cells_->rerank_on_host()) {
        cells_.reset();
        cells_ = std::make_unique<CellStore>(store, budget_, stream_.get());
    }
    parts_.clear();
    if (whole) {
        cells_->update(cells, tags_, 0);
    } else {
        make_parts(cells, room);
    }
}

void HeldCells::make_parts(const SearchableCells& cells, size_t bytes) {
    const size_t room = bytes / code_bytes(1), count = cells.cells.size();
    check(room > 0, StatusCode::OutOfMemory, "device memory: of the ", budget_.limit(),
          " bytes that this index may take, ", bytes,
          " are left for codes beside the scratch of searches, too few for sixteen vectors: give "
          "it more (DeviceOptions::memory_bytes), or less scratch (scratch_bytes)");
    first_blocks_.assign(1, 0);
    size_t left = 0;
    for (size_t c = 0; c < count; ++c) {
        const CellView& cell = cells.cells[c];
        for (size_t block = 0; block < blocks_for(cell.size);) {
            if (left == 0) {
                parts_.push_back({std::vector<CellView>(count), std::vector<size_t>(count, 0)});
                left = room;
            }
            const size_t some = std::min(left, blocks_for(cell.size) - block);
            CellView& view = parts_.back().cells[c];
            view = cell;
            view.blocks += block * code_.block_bytes();
            view.ids += block * kBlock;
            view.size = std::min(some * kBlock, cell.size - block * kBlock);
            parts_.back().first_slots[c] = block * kBlock;
            block += some;
            left -= some;
        }
        first_blocks_.push_back(first_blocks_.back() + blocks_for(cell.size));
    }
    check(first_blocks_.back() <= kMostBlocks, StatusCode::Unsupported, "the index has ",
          first_blocks_.back(), " blocks of ", kBlock, " vectors, but a device takes at most ",
          kMostBlocks, ": search parts of it, or use cpu");
    for (Part& part : parts_) {
        for (size_t c = 0; c < count; ++c)
            part.cells[c].centroid = cells.cells[c].centroid;
    }
    loaded_ = kNone;
}

void HeldCells::load(size_t part, int threads) const {
    if (parts_.empty() || loaded_ == part) return;
    loaded_ = kNone;
    SearchableCells cells;
    cells.dim = dim_;
    cells.metric = metric_;
    cells.code = code_;
    cells.centroids = host_centroids_;
    cells.cells = parts_[part].cells;
    cells_->replace(cells, tags_, threads);
    std::vector<unsigned> shifts(parts_[part].cells.size());
    for (size_t c = 0; c < shifts.size(); ++c) {
        const uint64_t place = first_blocks_[c] * kBlock + parts_[part].first_slots[c];
        shifts[c] = static_cast<unsigned>(place - cells_->first_place(c));
    }
    if (shifts_.size() < shifts.size())
        shifts_ = DeviceArray<unsigned>(shifts.size(), stream_.get(), budget_, "tables");
    shifts_.copy_from(shifts.data(), shifts.size());
    simt::synchronize(stream_.get());
    loaded_ = part;
}

std::pair<uint32_t, uint32_t> HeldCells::locate(unsigned place) const {
    if (parts_.empty()) return cells_->locate(place);
    const auto after =
        std::upper_bound(first_blocks_.begin(), first_blocks_.end(), uint64_t{place / kBlock});
    const auto cell = static_cast<size_t>(after - first_blocks_.begin()) - 1;
    return {static_cast<uint32_t>(cell),
            static_cast<uint32_t>(place - first_blocks_[cell] * kBlock)};
}

}  // namespace nearcell::gpu
