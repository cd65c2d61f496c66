// Cell: the vectors stored in one Voronoi cell: their codes in blocks of sixteen (CodeView's
// layout), their ids, and their rows of the re-rank store. Removal moves the last vector into the
// gap, so a cell is always dense. May start as a view of a mapped file; the first change copies it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <nearcell/core/aligned_buffer.h>
#include <nearcell/kernels/backend.h>

namespace nearcell {

// 32-bit words a vector of the two stores.
struct CellShape {
    size_t code_words = 0;
    size_t rerank_words = 0;  // 0: no re-rank store
};

// The ids of rows: one by one, or where `given` is null, counted from `first` on.
struct RowIds {
    const int64_t* given = nullptr;
    int64_t first = 0;

    int64_t of(size_t row) const {
        return given != nullptr ? given[row] : first + static_cast<int64_t>(row);
    }
    RowIds from(size_t row) const {
        return given != nullptr ? RowIds{given + row} : RowIds{nullptr, of(row)};
    }
};

class Cell {
   public:
    Cell() = default;
    // Views of a mapped file.
    Cell(const uint32_t* blocks, const int64_t* ids, const uint32_t* rerank, size_t size,
         CellShape shape);

    size_t size() const { return size_; }
    uint64_t version() const { return version_; }  // counts the changes
    const uint32_t* blocks() const { return blocks_.data(); }
    const int64_t* ids() const { return ids_.data(); }
    const uint32_t* rerank_rows() const { return rerank_.data(); }
    size_t memory_bytes() const;  // of its own: 0 while it is a view
    bool is_view() const;         // of a file, in part at least

    // Whether so many vectors fit into the memory that it has.
    bool has_room(size_t vectors, CellShape shape) const;
    // Whether move_to() put its codes and ids where they are.
    bool is_shared() const;
    // What move_to() needs for so many vectors, a multiple of 64.
    static size_t bytes_for(size_t vectors, CellShape shape);
    // Moves it to memory that starts on a line, with room for `vectors`, at least size(). The
    // keeper frees that memory, in which other cells may lie, too.
    void move_to(std::byte* memory, size_t vectors, CellShape shape,
                 const std::shared_ptr<const void>& keeper) noexcept;

    // Copies what is still a view of a file: removing and setting cannot run out of memory then.
    void own();
    // Appends `count` vectors, which may be anything until they are set; strong guarantee.
    void grow(size_t count, CellShape shape);
    // Fills slots that were grown, from first_slot on, with these of some vectors, whose ids, codes
    // and re-rank rows (rows of words; null without a re-rank store) are given. Threads may fill
    // different slots at once.
    void set(size_t first_slot, std::span<const uint32_t> which, RowIds ids, const uint32_t* codes,
             const uint32_t* rerank, CellShape shape);
    void truncate(size_t size, CellShape shape);  // to 0: gives its memory back
    // The id that moved into the slot, or -1 when the slot was the last.
    int64_t swap_remove(size_t slot, CellShape shape);

    void copy_code(size_t slot, uint32_t* code, CellShape shape) const;
    const uint32_t* rerank_row(size_t slot, CellShape shape) const {
        return rerank_.data() + slot * shape.rerank_words;
    }

   private:
    size_t size_ = 0;
    uint64_t version_ = 0;
    AlignedBuffer<uint32_t> blocks_;
    AlignedBuffer<int64_t> ids_;
    AlignedBuffer<uint32_t> rerank_;
};

}  // namespace nearcell
