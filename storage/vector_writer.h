// VectorWriter and IdWriter: a vector file written a few rows at a time, when how many there will
// be is not known or they do not fit into memory together; write_vectors() and write_ids() are for
// rows that are all there. The file is the same, byte for byte, appears with commit(), and not at
// all without it. Formats: all that hold vectors, or ids, but HDF5. Cost: that of writing; memory:
// a buffer of about 1 MiB at most, and for ids that are narrowed a copy of those appended. Not
// thread safe.
//
// With kept_rows the file is made by several processes one after the other (AtomicFile, resumed):
// rows go to PATH.part, or PATH.OWNER.part, which is there until commit() or discard(), and of
// which the first kept_rows rows are kept.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <nearcell/storage/atomic_file.h>
#include <nearcell/storage/vector_file.h>

namespace nearcell {

enum class FileElement;

// What both have in common.
class RowWriter {
   public:
    uint64_t rows() const { return rows_; }

    // With kept_rows: what was appended so far is on the disk.
    void sync() { file_.sync(); }
    // Corrects the header and brings all to the disk; PATH.part can then be read.
    void seal();
    // Corrects the header and puts the file in place. Throws InvalidArgument when the format cannot
    // hold so many rows, or none (fvecs, bvecs and ivecs).
    void commit();
    void discard() noexcept { file_.discard(); }

   protected:
    RowWriter(const std::string& path, VectorFormat format, FileElement element, size_t cols,
              std::optional<uint64_t> kept_rows, const std::string& owner);
    void append_rows(const void* data, uint64_t rows, uint64_t row_bytes, uint64_t stride);

    std::string path_;
    VectorFormat format_;
    size_t cols_;

   private:
    void write_header();
    void correct_header();

    FileElement element_;
    uint64_t rows_ = 0;
    AtomicFile file_;
};

class VectorWriter : public RowWriter {
   public:
    // Throws InvalidArgument when the format cannot hold such elements or is HDF5; Io and Corrupt
    // as AtomicFile does.
    VectorWriter(const std::string& path, ElementType type, size_t cols,
                 const VectorFileOptions& options = {},
                 std::optional<uint64_t> kept_rows = std::nullopt, const std::string& owner = "");

    // Throws InvalidArgument for another element type or number of columns, Io.
    void append(const Vectors& rows);

   private:
    ElementType type_;
};

class IdWriter : public RowWriter {
   public:
    IdWriter(const std::string& path, size_t cols, const VectorFileOptions& options = {},
             std::optional<uint64_t> kept_rows = std::nullopt, const std::string& owner = "");

    // Throws InvalidArgument for an id that the format cannot hold, and then none of these rows is
    // written; Io.
    void append(const int64_t* ids, uint64_t rows);
};

}  // namespace nearcell
