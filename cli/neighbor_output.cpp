#include "neighbor_output.h"

#include <CLI/CLI.hpp>

#include "files.h"

namespace nearcell::cli {

void NeighborOutput::add_options(CLI::App& command) {
    command.add_option("-o,--output", ids, "ids: .ibin, .ivecs, .npy or .hdf5")->required();
    command.add_option("--scores", scores, "scores: .fbin, .fvecs, .npy or .hdf5");
}

void NeighborOutput::check(const std::vector<std::string>& inputs, bool is_begun) const {
    if (is_begun) {
        check_output(output_file(id_path()));
    } else {
        check_id_output(id_path(), options());
        if (!scores.empty()) check_vector_output(score_path(), ElementType::Float32, options());
    }
    check_different({id_path(), score_path()}, inputs);
}

std::string NeighborOutput::id_path() const { return with_data_set(ids, "neighbors"); }

std::string NeighborOutput::score_path() const {
    return scores.empty() ? "" : with_data_set(scores, "distances");
}

VectorFileOptions NeighborOutput::options() const {
    VectorFileOptions options;
    if (!scores.empty()) options.together = {score_path(), id_path()};
    return options;
}

void NeighborOutput::write(const SearchResult& result) const {
    if (!scores.empty()) {
        const MatrixView<const float> view(result.scores.data(), result.queries, result.k);
        write_vectors(score_path(), Vectors(view), options());
    }
    write_ids(id_path(), result.ids.data(), result.queries, result.k, options());
}

}  // namespace nearcell::cli
