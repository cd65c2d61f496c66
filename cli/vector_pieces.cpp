#include "vector_pieces.h"

#include <algorithm>

#include <nearcell/core/error.h>

#include "files.h"

namespace nearcell::cli {

VectorPieces::VectorPieces(const std::string& path)
    : path_(path), before_(file_stamp(output_file(path))), info_(vector_file_info(path)) {}

void VectorPieces::check_unchanged() const {
    check(file_stamp(output_file(path_)) == before_, StatusCode::Corrupt, path_,
          ": changed while it was read; begin anew, and leave the file as it is meanwhile");
}

VectorData VectorPieces::read(size_t first, size_t count) const {
    const size_t wanted = std::min(count, info_.rows - std::min(first, info_.rows));
    VectorFileOptions piece;
    piece.first_row = first;
    piece.max_rows = count;
    VectorData rows;
    try {
        rows = read_vectors(path_, piece);
    } catch (const Error&) {
        check_unchanged();  // which says more than what a change led to
        throw;
    }
    check_unchanged();
    check(rows.rows == wanted && rows.cols == info_.cols, StatusCode::Corrupt, path_, ": gave ",
          rows.rows, " x ", rows.cols, " values from row ", first, " on, not ", wanted, " x ",
          info_.cols, ": it changed while it was read; begin anew");
    return rows;
}

}  // namespace nearcell::cli
