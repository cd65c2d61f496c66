// NeighborOutput: where a command puts neighbours: ids (-o), and scores when asked (--scores).
#pragma once

#include <string>
#include <vector>

#include <nearcell/core/search_result.h>
#include <nearcell/storage/vector_file.h>

namespace CLI {
class App;
}

namespace nearcell::cli {

struct NeighborOutput {
    std::string ids;
    std::string scores;  // empty: not wanted

    void add_options(CLI::App& command);
    // Throws when one of them could not be written, or is an input, before the work begins.
    // is_begun: there may be some of it already.
    void check(const std::vector<std::string>& inputs, bool is_begun = false) const;
    // The files, with the data sets that HDF5 files have them in; of the scores only when wanted.
    std::string id_path() const;
    std::string score_path() const;
    // Where both go into one HDF5 file, both may be replaced there.
    VectorFileOptions options() const;
    // Missing neighbours are written as id -1. Each file appears complete or not at all.
    void write(const SearchResult& result) const;
};

}  // namespace nearcell::cli
