// VectorPieces: a vector file that is read in pieces, by its path each time, for commands that must
// not hold it in memory. All pieces are of the file that was there at first: when it was replaced,
// written to or cut off meanwhile, reading throws instead of mixing the rows of two files. Thread
// safe.
#pragma once

#include <cstddef>
#include <string>

#include <nearcell/storage/input_file.h>
#include <nearcell/storage/vector_file.h>

namespace nearcell::cli {

class VectorPieces {
   public:
    // Throws what vector_file_info does.
    explicit VectorPieces(const std::string& path);

    const std::string& path() const { return path_; }
    const VectorFileInfo& info() const { return info_; }
    // Rows [first, first + count), less where the file ends. Throws what read_vectors does, and
    // Corrupt when the file is not as it was.
    VectorData read(size_t first, size_t count) const;

   private:
    void check_unchanged() const;

    std::string path_;
    FileStamp before_;
    VectorFileInfo info_;
};

}  // namespace nearcell::cli
