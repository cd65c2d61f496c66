#include <nearcell/ivf/cell.h>

#include <algorithm>

#include <nearcell/kernels/transpose.h>

namespace nearcell {
namespace {

size_t block_words(size_t vectors, CellShape shape) {
    return blocks_for(vectors) * shape.code_words * kBlock;
}

size_t whole_lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

// Word 0 of a vector's lane; its other words follow kBlock apart.
size_t lane_start(size_t slot, CellShape shape) {
    return slot / kBlock * shape.code_words * kBlock + slot % kBlock;
}

}  // namespace

Cell::Cell(const uint32_t* blocks, const int64_t* ids, const uint32_t* rerank, size_t size,
           CellShape shape)
    : size_(size),
      blocks_(AlignedBuffer<uint32_t>::view(blocks, block_words(size, shape))),
      ids_(AlignedBuffer<int64_t>::view(ids, size)),
      rerank_(AlignedBuffer<uint32_t>::view(rerank, size * shape.rerank_words)) {}

size_t Cell::memory_bytes() const {
    return blocks_.capacity_bytes() + ids_.capacity_bytes() + rerank_.capacity_bytes();
}

bool Cell::is_view() const { return blocks_.is_view() || ids_.is_view() || rerank_.is_view(); }

bool Cell::has_room(size_t vectors, CellShape shape) const {
    return blocks_.capacity_bytes() >= block_words(vectors, shape) * sizeof(uint32_t) &&
           ids_.capacity_bytes() >= vectors * sizeof(int64_t) &&
           rerank_.capacity_bytes() >= vectors * shape.rerank_words * sizeof(uint32_t);
}

bool Cell::is_shared() const { return blocks_.is_shared() && ids_.is_shared(); }

size_t Cell::bytes_for(size_t vectors, CellShape shape) {
    return block_words(vectors, shape) * sizeof(uint32_t) + whole_lines(vectors * sizeof(int64_t)) +
           whole_lines(vectors * shape.rerank_words * sizeof(uint32_t));
}

void Cell::move_to(std::byte* memory, size_t vectors, CellShape shape,
                   const std::shared_ptr<const void>& keeper) noexcept {
    const auto move = [&](auto& buffer, auto* place, size_t count) {
        buffer.move_to(place, count, keeper);
        memory += whole_lines(count * sizeof *place);
    };
    move(blocks_, reinterpret_cast<uint32_t*>(memory), block_words(vectors, shape));
    move(ids_, reinterpret_cast<int64_t*>(memory), vectors);
    move(rerank_, reinterpret_cast<uint32_t*>(memory), vectors * shape.rerank_words);
}

void Cell::own() {
    blocks_.mutable_data();
    ids_.mutable_data();
    rerank_.mutable_data();
}

void Cell::grow(size_t count, CellShape shape) {
    ++version_;
    // The sizes are changed together at the end; what a failed step allocated stays as reserve, but
    // that of an empty cell.
    const size_t size = size_ + count;
    const size_t old_words = blocks_.size(), words = block_words(size, shape);
    blocks_.resize_for_overwrite(words);
    try {
        ids_.resize_for_overwrite(size);
        rerank_.resize_for_overwrite(size * shape.rerank_words);
    } catch (...) {
        truncate(size_, shape);
        throw;
    }
    if (words > old_words) {  // lanes past the end: 0
        const size_t last = shape.code_words * kBlock;
        std::fill_n(blocks_.mutable_data() + (words - last), last, 0u);
    }
    size_ = size;
}

void Cell::set(size_t first_slot, std::span<const uint32_t> which, RowIds ids,
               const uint32_t* codes, const uint32_t* rerank, CellShape shape) {
    const size_t words = shape.code_words;
    uint32_t* const blocks = blocks_.mutable_data();
    for (size_t i = 0; i < which.size();) {
        const size_t slot = first_slot + i;
        uint32_t* const lane = blocks + lane_start(slot, shape);
        const uint32_t* const code = codes + which[i] * words;
        size_t w = 0, count = 1;
        if (slot % 4 == 0 && i + 4 <= which.size()) {  // four neighbouring lanes together
            count = 4;
            const uint32_t* const rows[4] = {code, codes + which[i + 1] * words,
                                             codes + which[i + 2] * words,
                                             codes + which[i + 3] * words};
            for (; w + 4 <= words; w += 4) {
                const Four<uint32_t> four[4] = {load_four(rows[0] + w), load_four(rows[1] + w),
                                                load_four(rows[2] + w), load_four(rows[3] + w)};
                store_transposed<uint32_t>(four, lane + w * kBlock);
            }
        }
        for (size_t r = 0; r < count; ++r, ++i) {
            for (size_t rest = w; rest < words; ++rest)
                lane[rest * kBlock + r] = codes[which[i] * words + rest];
        }
    }
    int64_t* const own_ids = ids_.mutable_data() + first_slot;
    for (size_t i = 0; i < which.size(); ++i)
        own_ids[i] = ids.of(which[i]);
    if (shape.rerank_words == 0) return;
    uint32_t* const rows = rerank_.mutable_data() + first_slot * shape.rerank_words;
    for (size_t i = 0; i < which.size(); ++i) {
        std::copy_n(rerank + which[i] * shape.rerank_words, shape.rerank_words,
                    rows + i * shape.rerank_words);
    }
}

void Cell::truncate(size_t size, CellShape shape) {
    ++version_;
    if (size == 0) {
        AlignedBuffer<uint32_t>().swap(blocks_);
        AlignedBuffer<int64_t>().swap(ids_);
        AlignedBuffer<uint32_t>().swap(rerank_);
        size_ = 0;
        return;
    }
    uint32_t* words = blocks_.mutable_data();
    const size_t kept_slots = blocks_for(size) * kBlock;
    for (size_t slot = size; slot < kept_slots && slot < size_; ++slot) {  // lanes past the end: 0
        for (size_t w = 0; w < shape.code_words; ++w)
            words[lane_start(slot, shape) + w * kBlock] = 0;
    }
    blocks_.resize(block_words(size, shape));
    ids_.resize(size);
    rerank_.resize(size * shape.rerank_words);
    size_ = size;
}

int64_t Cell::swap_remove(size_t slot, CellShape shape) {
    ++version_;
    const size_t last = size_ - 1;
    int64_t moved = -1;
    if (slot != last) {
        moved = ids_[last];
        uint32_t* words = blocks_.mutable_data();
        for (size_t w = 0; w < shape.code_words; ++w) {
            words[lane_start(slot, shape) + w * kBlock] =
                words[lane_start(last, shape) + w * kBlock];
        }
        ids_.mutable_data()[slot] = moved;
        uint32_t* rows = rerank_.mutable_data();
        std::copy_n(rows + last * shape.rerank_words, shape.rerank_words,
                    rows + slot * shape.rerank_words);
    }
    truncate(last, shape);
    return moved;
}

void Cell::copy_code(size_t slot, uint32_t* code, CellShape shape) const {
    const uint32_t* lane = blocks_.data() + lane_start(slot, shape);
    for (size_t w = 0; w < shape.code_words; ++w)
        code[w] = lane[w * kBlock];
}

}  // namespace nearcell
