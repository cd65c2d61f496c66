// ResultFile: one output of a search, made by one run of the command or by several: results go to
// PATH.part (scores: PATH.NUMBER.part), which the next run goes on with (storage/vector_writer.h).
// An HDF5 file, which cannot grow, is made of a .part file at the end, through memory. Not thread
// safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <nearcell/core/search_result.h>
#include <nearcell/storage/atomic_file.h>
#include <nearcell/storage/vector_file.h>

#include "neighbor_output.h"

namespace nearcell::cli {

class ResultFile {
   public:
    virtual ~ResultFile() = default;
    virtual void append(const SearchResult& result) = 0;
    // What was appended is on the disk.
    virtual void sync() = 0;
    // The output is in place, and the .part file is gone.
    virtual void finish() = 0;
    virtual void discard() = 0;
};

// The path less ".part" of an output: itself, or of found.hdf5:neighbors found.hdf5.neighbors.
std::string staged_path(const std::string& path);

struct ResultTarget {
    std::string path;           // the output
    std::string owner;          // as of AtomicFile
    VectorFileOptions options;  // to write HDF5 with
    std::string part() const { return AtomicFile::partial_path(staged_path(path), owner); }
};
// Searches are told apart by where their ids go: one file of scores may be that of several, so the
// owner of its .part is a number that the path of the ids gives.
ResultTarget id_target(const NeighborOutput& output);
ResultTarget score_target(const NeighborOutput& output);

// Keep the first `kept` rows of what an earlier run left. Throw what VectorWriter and IdWriter do.
std::unique_ptr<ResultFile> open_id_file(const ResultTarget& target, size_t k, uint64_t kept);
std::unique_ptr<ResultFile> open_score_file(const ResultTarget& target, size_t k, uint64_t kept);

}  // namespace nearcell::cli
