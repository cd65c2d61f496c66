#include "neighbor_output.h"

#include <CLI/CLI.hpp>

#include <nearcell/storage/vector_file.h>

#include "files.h"

namespace nearcell::cli {

void NeighborOutput::add_options(CLI::App& command) {
    command.add_option("-o,--output", ids, "ids: .ibin, .ivecs, .npy or .hdf5")->required();
    command.add_option("--scores", scores, "scores: .fbin, .fvecs, .npy or .hdf5");
}

void NeighborOutput::check(const std::vector<std::string>& inputs) const {
    check_vector_output(id_path());
    if (!scores.empty()) check_vector_output(score_path());
    check_different({id_path(), score_path()}, inputs);
}

std::string NeighborOutput::id_path() const { return with_data_set(ids, "neighbors"); }

std::string NeighborOutput::score_path() const {
    return scores.empty() ? "" : with_data_set(scores, "distances");
}

void NeighborOutput::write(const SearchResult& result) const {
    if (!scores.empty()) {
        const MatrixView<const float> view(result.scores.data(), result.queries, result.k);
        write_vectors(score_path(), Vectors(view));
    }
    write_ids(id_path(), result.ids.data(), result.queries, result.k);
}

}  // namespace nearcell::cli
