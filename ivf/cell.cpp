#include <nearcell/ivf/cell.h>

#include <algorithm>

#include <nearcell/kernels/transpose.h>

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

void Cell::append_arrays(std::vector<std::span<const std::byte>>& arrays) const {
    const auto append = [&](const auto& buffer) {
        arrays.emplace_back(reinterpret_cast<const std::byte*>(buffer.data()),
                            buffer.capacity_bytes());
    };
    append(blocks_);
    append(ids_);
    append(rerank_);
}

void Cell::own() {
    blocks_.mutable_data();
    ids_.mutable_data();
    rerank_.mutable_data();
}

void Cell::grow(size_t count, CellShape shape) {
    ++version_;
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

void Cell::set(size_t first_slot, std::span<const uint32_t> which, const int64_t* ids,
               const uint32_t* codes, const uint32_t* rerank, CellShape shape) {
    ++version_;
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
    for (size_t i = 0; i < which.size(); ++i) {
        ids_.mutable_data()[first_slot + i] = ids[which[i]];
        if (shape.rerank_words == 0) continue;
        std::copy_n(rerank + which[i] * shape.rerank_words, shape.rerank_words,
                    rerank_.mutable_data() + (first_slot + i) * shape.rerank_words);
    }
}

void Cell::truncate(size_t size, CellShape shape) {
    ++version_;
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
