#include <nearcell/storage/vector_writer.h>

#include <nearcell/storage/row_file.h>

namespace nearcell {
namespace {

VectorFormat streamed_format(const std::string& path, const VectorFileOptions& options) {
    const VectorFormat format = options.format ? *options.format : format_from_path(path);
    check(format != VectorFormat::Hdf5, StatusCode::InvalidArgument, path,
          ": hdf5 cannot be written a few rows at a time; write npy, fbin or fvecs, and convert it "
          "afterwards");
    return format;
}

}  // namespace

VectorWriter::VectorWriter(const std::string& path, ElementType type, size_t cols,
                           const VectorFileOptions& options)
    : path_(path), format_(streamed_format(path, options)), type_(type), cols_(cols), file_(path) {
    check(cols > 0, StatusCode::InvalidArgument, path, ": cannot write rows of 0 columns");
    // How many rows there are is written by commit(); the header's length does not depend on it.
    const RowHeader header = row_header(format_, file_element(type), 1, cols);
    file_.append(header.file.data(), header.file.size());
}

void VectorWriter::append(const Vectors& rows) {
    check(rows.type == type_ && rows.cols == cols_, StatusCode::InvalidArgument, path_,
          ": rows of ", rows.cols, " ", element_name(rows.type), " values cannot follow rows of ",
          cols_, " ", element_name(type_), " values");
    check(rows.data != nullptr || rows.rows == 0, StatusCode::InvalidArgument, path_,
          ": cannot write ", rows.rows, " rows from a null pointer");
    const RowHeader header = row_header(format_, file_element(type_), 1, cols_);
    const size_t size = element_size(type_);
    append_rows(file_, header.row, rows.data, rows.rows, cols_ * size, rows.stride * size);
    rows_ += rows.rows;
}

void VectorWriter::commit() {
    const RowHeader header = row_header(format_, file_element(type_), rows_, cols_);
    const size_t reserved = row_header(format_, file_element(type_), 1, cols_).file.size();
    check(header.file.size() == reserved, StatusCode::Unsupported, path_, ": a header for ", rows_,
          " rows takes ", header.file.size(), " bytes, and ", reserved,
          " are there; write another format");
    file_.write_at(0, header.file.data(), header.file.size());
    file_.commit();
}

}  // namespace nearcell
