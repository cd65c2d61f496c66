// fvecs, bvecs, ivecs (the TEXMEX corpora): every row is its int32 dimension, then its values.
// There is no header, so the dimension of row 0 holds for all, and each row's is compared with it
// when read.
#include <cstdint>
#include <limits>

#include <nearcell/storage/row_file.h>

namespace nearcell {
namespace {

FileElement vecs_element(VectorFormat format) {
    return format == VectorFormat::Fvecs   ? FileElement::Float32
           : format == VectorFormat::Bvecs ? FileElement::UInt8
                                           : FileElement::Int32;
}

}  // namespace

RowFile parse_vecs(const InputFile& file, VectorFormat format) {
    RowFile rows;
    rows.format = format;
    rows.element = vecs_element(format);
    rows.prefix_bytes = sizeof(int32_t);
    int32_t dimension = 0;
    file.read_at(0, &dimension, sizeof dimension, "the dimension of row 0");
    check(dimension > 0, StatusCode::Corrupt, file.path(), ": row 0 at offset 0 has dimension ",
          dimension, ", and it must be at least 1");
    rows.cols = static_cast<uint64_t>(dimension);
    check(file.bytes() % rows.row_bytes() == 0, StatusCode::Corrupt, file.path(), ": has ",
          file.bytes(), " bytes, not a multiple of the ", rows.row_bytes(),
          " that a row of dimension ", dimension,
          " takes: it is truncated or of another element type");
    rows.rows = file.bytes() / rows.row_bytes();
    return rows;
}

RowHeader vecs_header(VectorFormat format, FileElement element, uint64_t rows, uint64_t cols) {
    check(element == vecs_element(format), StatusCode::InvalidArgument, format_name(format),
          " holds ", file_element_name(vecs_element(format)), " values, not ",
          file_element_name(element), "; convert them or write npy");
    check(rows > 0, StatusCode::InvalidArgument, format_name(format),
          " cannot hold 0 rows: it would not say their dimension; write npy");
    check(cols <= std::numeric_limits<int32_t>::max(), StatusCode::InvalidArgument,
          format_name(format), " cannot hold ", cols, " columns: its limit is 2^31 - 1; write npy");
    const uint32_t dimension = static_cast<uint32_t>(cols);
    return {"", std::string(reinterpret_cast<const char*>(&dimension), sizeof dimension)};
}

}  // namespace nearcell
