// fbin, u8bin, i8bin, ibin (big-ann-benchmarks): uint32 rows, uint32 columns, then the values. Its
// truth files are ibin with as many float32 distances after the ids; those are accepted and not
// read.
#include <array>
#include <cstring>
#include <limits>

#include <nearcell/storage/checked_size.h>
#include <nearcell/storage/row_file.h>

namespace nearcell {
namespace {

constexpr uint64_t kBinHeaderBytes = 8;

FileElement bin_element(VectorFormat format) {
    return format == VectorFormat::Fbin    ? FileElement::Float32
           : format == VectorFormat::U8bin ? FileElement::UInt8
           : format == VectorFormat::I8bin ? FileElement::Int8
                                           : FileElement::Int32;
}

}  // namespace

RowFile parse_bin(const InputFile& file, VectorFormat format) {
    std::array<uint32_t, 2> shape{};
    file.read_at(0, shape.data(), sizeof shape, "the header");
    RowFile rows;
    rows.format = format;
    rows.element = bin_element(format);
    rows.rows = shape[0];
    rows.cols = shape[1];
    rows.data_offset = kBinHeaderBytes;
    const uint64_t bytes = checked_row_bytes(rows, file.path());
    const uint64_t found = file.bytes() - kBinHeaderBytes;
    const bool with_distances = format == VectorFormat::Ibin && checked_product(bytes, 2) == found;
    check(found == bytes || with_distances, StatusCode::Corrupt, file.path(), ": has ", found,
          " bytes after its header, but the ", rows.rows, " x ", rows.cols, " ",
          file_element_name(rows.element), " values that the header at offset 0 says take ", bytes,
          ": it is truncated or of another element type");
    return rows;
}

RowHeader bin_header(VectorFormat format, FileElement element, uint64_t rows, uint64_t cols) {
    check(element == bin_element(format), StatusCode::InvalidArgument, format_name(format),
          " holds ", file_element_name(bin_element(format)), " values, not ",
          file_element_name(element), "; convert them or write npy");
    constexpr uint64_t kMost = std::numeric_limits<uint32_t>::max();
    check(rows <= kMost && cols <= kMost, StatusCode::InvalidArgument, format_name(format),
          " cannot hold ", rows, " x ", cols,
          " values: its limit is 2^32 - 1 rows and columns; write npy");
    const std::array<uint32_t, 2> shape{static_cast<uint32_t>(rows), static_cast<uint32_t>(cols)};
    return {std::string(reinterpret_cast<const char*>(shape.data()), sizeof shape), ""};
}

}  // namespace nearcell
