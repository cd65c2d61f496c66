// VectorWriter: a vector file written a few rows at a time, when how many there will be is not
// known or they do not fit into memory together; write_vectors() is for rows that are all there.
// The file is the same, byte for byte, appears with commit(), and not at all without it. Formats:
// all that hold vectors but HDF5. Cost: that of writing; memory: a buffer of about 1 MiB at most.
// Not thread safe.
#pragma once

#include <cstdint>
#include <string>

#include <nearcell/storage/atomic_file.h>
#include <nearcell/storage/vector_file.h>

namespace nearcell {

class VectorWriter {
   public:
    // Throws InvalidArgument when the format cannot hold such elements or is HDF5, Io as AtomicFile
    // does.
    VectorWriter(const std::string& path, ElementType type, size_t cols,
                 const VectorFileOptions& options = {});

    // Throws InvalidArgument for another element type or number of columns, Io.
    void append(const Vectors& rows);
    uint64_t rows() const { return rows_; }

    // Corrects the header and puts the file in place. Throws InvalidArgument when the format cannot
    // hold so many rows, or none (fvecs and bvecs).
    void commit();

   private:
    std::string path_;
    VectorFormat format_;
    ElementType type_;
    size_t cols_;
    uint64_t rows_ = 0;
    AtomicFile file_;
};

}  // namespace nearcell
