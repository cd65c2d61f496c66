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

// Where the header ends: its length does not depend on how many rows there are.
uint64_t kept_bytes(VectorFormat format, FileElement element, size_t cols, uint64_t rows) {
    if (rows == 0) return 0;  // the header is written again
    const RowHeader header = row_header(format, element, 1, cols);
    return header.file.size() + rows * (header.row.size() + cols * file_element_size(element));
}

AtomicFile opened(const std::string& path, std::optional<uint64_t> kept_bytes,
                  const std::string& owner) {
    if (kept_bytes) return AtomicFile(path, *kept_bytes, owner);
    return AtomicFile(path);
}

size_t checked_columns(const std::string& path, size_t cols) {
    check(cols > 0, StatusCode::InvalidArgument, path, ": cannot write rows of 0 columns");
    return cols;
}

}  // namespace

RowWriter::RowWriter(const std::string& path, VectorFormat format, FileElement element, size_t cols,
                     std::optional<uint64_t> kept_rows, const std::string& owner)
    : path_(path),
      format_(format),
      cols_(checked_columns(path, cols)),
      element_(element),
      rows_(kept_rows.value_or(0)),
      file_(opened(
          path,
          kept_rows ? std::optional(kept_bytes(format, element, cols, *kept_rows)) : std::nullopt,
          owner)) {
    if (!kept_rows) write_header();
}

// How many rows there are is written by correct_header().
void RowWriter::write_header() {
    const RowHeader header = row_header(format_, element_, 1, cols_);
    file_.append(header.file.data(), header.file.size());
}

void RowWriter::append_rows(const void* data, uint64_t rows, uint64_t row_bytes, uint64_t stride) {
    if (file_.bytes() == 0) write_header();
    const RowHeader header = row_header(format_, element_, 1, cols_);
    nearcell::append_rows(file_, header.row, data, rows, row_bytes, stride);
    rows_ += rows;
}

void RowWriter::correct_header() {
    if (file_.bytes() == 0) write_header();
    const RowHeader header = row_header(format_, element_, rows_, cols_);
    const size_t reserved = row_header(format_, element_, 1, cols_).file.size();
    check(header.file.size() == reserved, StatusCode::Unsupported, path_, ": a header for ", rows_,
          " rows takes ", header.file.size(), " bytes, and ", reserved,
          " are there; write another format");
    file_.write_at(0, header.file.data(), header.file.size());
}

void RowWriter::seal() {
    correct_header();
    file_.sync();
}

void RowWriter::commit() {
    correct_header();
    file_.commit();
}

VectorWriter::VectorWriter(const std::string& path, ElementType type, size_t cols,
                           const VectorFileOptions& options, std::optional<uint64_t> kept_rows,
                           const std::string& owner)
    : RowWriter(path, streamed_format(path, options), file_element(type), cols, kept_rows, owner),
      type_(type) {}

void VectorWriter::append(const Vectors& rows) {
    check(rows.type == type_ && rows.cols == cols_, StatusCode::InvalidArgument, path_,
          ": rows of ", rows.cols, " ", element_name(rows.type), " values cannot follow rows of ",
          cols_, " ", element_name(type_), " values");
    check(rows.data != nullptr || rows.rows == 0, StatusCode::InvalidArgument, path_,
          ": cannot write ", rows.rows, " rows from a null pointer");
    const size_t size = element_size(type_);
    append_rows(rows.data, rows.rows, cols_ * size, rows.stride * size);
}

IdWriter::IdWriter(const std::string& path, size_t cols, const VectorFileOptions& options,
                   std::optional<uint64_t> kept_rows, const std::string& owner)
    : RowWriter(path, streamed_format(path, options),
                id_element(streamed_format(path, options), path), cols, kept_rows, owner) {}

void IdWriter::append(const int64_t* ids, uint64_t rows) {
    check(ids != nullptr || rows == 0, StatusCode::InvalidArgument, path_, ": cannot write ", rows,
          " rows from a null pointer");
    if (id_element(format_, path_) == FileElement::Int64) {
        append_rows(ids, rows, cols_ * sizeof(int64_t), cols_ * sizeof(int64_t));
        return;
    }
    const std::vector<int32_t> narrow = narrow_ids(path_, format_, ids, rows, cols_, this->rows());
    append_rows(narrow.data(), rows, cols_ * sizeof(int32_t), cols_ * sizeof(int32_t));
}

}  // namespace nearcell
