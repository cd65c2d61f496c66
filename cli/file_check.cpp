#include "file_check.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include <nearcell/ivf/cell_index.h>
#include <nearcell/storage/vector_file.h>

#include "files.h"
#include "names_file.h"
#include "number_text.h"
#include "pca_file.h"

namespace nearcell::cli {
namespace {

constexpr size_t kPieceBytes = size_t{64} << 20;

// A file of names beside the file at `path` must have one for each of its rows, or vectors.
std::string check_names(const std::string& path, size_t count, const char* what) {
    const std::optional<size_t> names = count_names(path);
    if (!names) return "";
    check(*names == count, StatusCode::Corrupt, path, " has ", count, " ", what, ", but ",
          names_path(path), " has ", *names,
          " names: they are not of one run; extract again, or delete the names");
    return ", names of all";
}

// Opening checks every checksum and then that the parts fit together; contains() that ids differ.
std::string check_container(const std::string& path) {
    std::string kind = Container::open(path, OpenMode::MapUnchecked).kind();
    if (kind == "index") {
        const auto index = CellIndex::open(path, true);
        index->contains(0);
        return "index " + index->spec() + ", " + grouped_text(index->size()) + " vectors" +
               check_names(path, index->size(), "vectors");
    }
    if (kind == "pca") {
        const Pca pca = load_pca(path);
        return "pca " + std::to_string(pca.dim()) + " to " + std::to_string(pca.components());
    }
    Container::open(path, OpenMode::Map);
    return kind;
}

// Any finite value: the file may hold scores, with the largest where a neighbour is missing.
void check_rows_finite(const Vectors& rows, const std::string& path, size_t first_row) {
    if (rows.type == ElementType::Int8 || rows.type == ElementType::UInt8) return;
    std::vector<float> row(rows.cols);
    for (size_t i = 0; i < rows.rows; ++i) {
        read_rows(rows, i, {row.data(), 1, rows.cols});
        const auto bad = std::find_if_not(row.begin(), row.end(),
                                          [](float value) { return std::isfinite(value); });
        check(bad == row.end(), StatusCode::NonFinite, path, "[", first_row + i, ", ",
              bad - row.begin(), "] is NaN or infinite; drop or repair such rows");
    }
}

void check_values(const DataSet& set, const Progress& progress) {
    const VectorFileInfo& info = set.info;
    const bool ids = info.element == "int32" || info.element == "int64";
    VectorFileOptions piece;
    piece.max_rows = std::max<size_t>(1, kPieceBytes / (8 * std::max<size_t>(1, info.cols)));
    for (; piece.first_row < info.rows; piece.first_row += piece.max_rows) {
        report(progress, "verify", static_cast<double>(piece.first_row),
               static_cast<double>(info.rows));
        if (ids) {
            read_ids(set.path, piece);
        } else {
            check_rows_finite(read_vectors(set.path, piece).view(), set.path, piece.first_row);
        }
    }
}

std::string check_vectors(const std::string& path, const Progress& progress) {
    const std::vector<DataSet> sets = data_sets(path);
    std::string found(format_name(sets[0].info.format));
    for (const DataSet& set : sets) {
        check_values(set, progress);
        found += ", " + set.info.element + " " + grouped_text(set.info.rows) + " x " +
                 std::to_string(set.info.cols);
    }
    return found + check_names(path, sets[0].info.rows, "rows");
}

}  // namespace

std::string check_file(const std::string& path, const Progress& progress) {
    return is_vector_path(path) ? check_vectors(path, progress) : check_container(path);
}

}  // namespace nearcell::cli
