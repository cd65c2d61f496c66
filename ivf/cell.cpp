#include <nearcell/ivf/cell.h>

#include <algorithm>
#include <cstring>

namespace nearcell {
namespace {

size_t block_words(size_t vectors, CellShape shape) {
    return blocks_for(vectors) * shape.code_words * kBlock;
}

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

void Cell::grow(size_t count, CellShape shape) {
    // The sizes are changed together at the end; what a failed step allocated stays as reserve.
    const size_t size = size_ + count;
    blocks_.resize(block_words(size, shape));
    try {
        ids_.resize(size);
        rerank_.resize(size * shape.rerank_words);
    } catch (...) {
        truncate(size_, shape);
        throw;
    }
    size_ = size;
}

void Cell::set(size_t slot, int64_t id, const uint32_t* code, const uint32_t* rerank_row,
               CellShape shape) {
    uint32_t* lane = blocks_.mutable_data() + lane_start(slot, shape);
    for (size_t w = 0; w < shape.code_words; ++w)
        lane[w * kBlock] = code[w];
    ids_.mutable_data()[slot] = id;
    if (shape.rerank_words != 0) {
        std::memcpy(rerank_.mutable_data() + slot * shape.rerank_words, rerank_row,
                    shape.rerank_words * sizeof(uint32_t));
    }
}

void Cell::truncate(size_t size, CellShape shape) {
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
