// raw: values and nothing else; element type and columns are the caller's to know.
#include <nearcell/storage/row_file.h>

namespace nearcell {

RowFile parse_raw(const InputFile& file, const VectorFileOptions& options) {
    RowFile rows;
    rows.format = VectorFormat::Raw;
    rows.element = file_element(options.raw_type);
    rows.cols = options.raw_cols;
    check(rows.cols > 0, StatusCode::InvalidArgument, file.path(),
          ": raw_cols = 0, but a raw file does not say its columns: give them, "
          "or convert the file with `nearcell convert --raw-cols`");
    check(rows.cols <= file.bytes() || file.bytes() == 0, StatusCode::InvalidArgument, file.path(),
          ": raw_cols = ", rows.cols, " is more than its ", file.bytes(), " bytes");
    rows.rows = 1;
    const uint64_t row_bytes = checked_row_bytes(rows, file.path());
    check(file.bytes() % row_bytes == 0, StatusCode::InvalidArgument, file.path(), ": has ",
          file.bytes(), " bytes, not a multiple of the ", row_bytes, " of a row of ", rows.cols,
          " ", file_element_name(rows.element), " values; check raw_type and raw_cols");
    rows.rows = file.bytes() / row_bytes;
    return rows;
}

}  // namespace nearcell
