#include <nearcell/storage/row_file.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include <nearcell/storage/checked_size.h>

namespace nearcell {
namespace {

constexpr uint64_t kMostColumnsWithoutRows = uint64_t{1} << 20;
constexpr uint64_t kBufferBytes = uint64_t{1} << 20;

// Calls use(values of one row, row number) for each row of the range, read in blocks.
template <class Use>
void for_each_row(const InputFile& file, const RowFile& rows, RowRange range, Use&& use) {
    const uint64_t row_bytes = rows.row_bytes();
    const uint64_t block_rows = std::max<uint64_t>(1, kBufferBytes / row_bytes);
    std::vector<uint8_t> block(std::min(block_rows, range.count) * row_bytes);
    const uint64_t end = range.first + range.count;
    for (uint64_t first = range.first; first < end; first += block_rows) {
        const uint64_t count = std::min(block_rows, end - first);
        const uint64_t offset = rows.data_offset + first * row_bytes;
        file.read_at(offset, block.data(), count * row_bytes, "a block of rows");
        for (uint64_t i = 0; i < count; ++i) {
            const uint8_t* row = block.data() + i * row_bytes;
            if (rows.prefix_bytes != 0) {
                int32_t dimension = 0;
                std::memcpy(&dimension, row, sizeof dimension);
                check(dimension >= 0 && static_cast<uint64_t>(dimension) == rows.cols,
                      StatusCode::Corrupt, file.path(), ": row ", first + i, " at offset ",
                      offset + i * row_bytes, " has dimension ", dimension, ", but row 0 has ",
                      rows.cols, ": the file is damaged or of another element type");
            }
            use(row + rows.prefix_bytes, first + i);
        }
    }
}

}  // namespace

size_t file_element_size(FileElement element) {
    switch (element) {
        case FileElement::Int8:
        case FileElement::UInt8: return 1;
        case FileElement::Float16:
        case FileElement::BFloat16: return 2;
        case FileElement::Float32:
        case FileElement::Int32: return 4;
        case FileElement::Float64:
        case FileElement::Int64: return 8;
    }
    return 1;
}

std::string_view file_element_name(FileElement element) {
    switch (element) {
        case FileElement::Float32: return element_name(ElementType::Float32);
        case FileElement::Float16: return element_name(ElementType::Float16);
        case FileElement::BFloat16: return element_name(ElementType::BFloat16);
        case FileElement::Int8: return element_name(ElementType::Int8);
        case FileElement::UInt8: return element_name(ElementType::UInt8);
        case FileElement::Float64: return "float64";
        case FileElement::Int32: return "int32";
        case FileElement::Int64: return "int64";
    }
    return "?";
}

FileElement file_element(ElementType type) {
    switch (type) {
        case ElementType::Float32: return FileElement::Float32;
        case ElementType::Float16: return FileElement::Float16;
        case ElementType::BFloat16: return FileElement::BFloat16;
        case ElementType::Int8: return FileElement::Int8;
        case ElementType::UInt8: return FileElement::UInt8;
    }
    return FileElement::Float32;
}

ElementType vector_type(FileElement element, const std::string& path) {
    switch (element) {
        case FileElement::Float32:
        case FileElement::Float64: return ElementType::Float32;
        case FileElement::Float16: return ElementType::Float16;
        case FileElement::BFloat16: return ElementType::BFloat16;
        case FileElement::Int8: return ElementType::Int8;
        case FileElement::UInt8: return ElementType::UInt8;
        case FileElement::Int32:
        case FileElement::Int64: break;
    }
    throw_error(StatusCode::Unsupported, path, ": holds ", file_element_name(element),
                " values, which are ids and not vectors; convert vectors to float32 first");
}

void check_ids(FileElement element, const std::string& path) {
    check(holds_ids(element), StatusCode::Unsupported, path, ": holds ", file_element_name(element),
          " values, which are not ids; ids are int32 or int64");
}

uint64_t checked_row_bytes(const RowFile& rows, const std::string& path) {
    check(rows.cols > 0, StatusCode::Corrupt, path, ": its shape ", rows.rows,
          " x 0 has no columns");
    check(rows.rows > 0 || rows.cols <= kMostColumnsWithoutRows, StatusCode::Corrupt, path,
          ": has ", rows.cols, " columns but no rows");
    const auto values = checked_product(rows.cols, file_element_size(rows.element));
    const auto row = values ? checked_sum(*values, rows.prefix_bytes) : std::nullopt;
    const auto bytes = row ? checked_product(rows.rows, *row) : std::nullopt;
    check(bytes.has_value(), StatusCode::Corrupt, path, ": its shape ", rows.rows, " x ", rows.cols,
          " overflows 64 bits");
    return *bytes;
}

RowRange choose_rows(uint64_t rows, const VectorFileOptions& options, const std::string& path) {
    check(options.first_row <= rows, StatusCode::InvalidArgument, path,
          ": first_row = ", options.first_row, " is beyond its ", rows, " rows");
    return {options.first_row, std::min<uint64_t>(options.max_rows, rows - options.first_row)};
}

void narrow(const double* values, size_t count, size_t cols, uint64_t first_row, float* out,
            const std::string& path, bool exact_whole) {
    for (size_t i = 0; i < count; ++i) {
        out[i] = static_cast<float>(values[i]);
        check(!std::isinf(out[i]) || std::isinf(values[i]), StatusCode::Unsupported, path,
              ": value ", values[i], " at row ", first_row + i / cols, ", column ", i % cols,
              " is too large for float32; scale the vectors");
        const bool whole = std::trunc(values[i]) == values[i] && std::fabs(values[i]) <= 0x1p53;
        if (exact_whole && whole && static_cast<double>(out[i]) != values[i]) {
            throw_error(StatusCode::InvalidArgument, path, ": value ",
                        static_cast<int64_t>(values[i]), " at row ", first_row + i / cols,
                        ", column ", i % cols,
                        " is not exact in float32; save whole numbers as int64, or as float32 if "
                        "they may be rounded");
        }
    }
}

VectorData read_row_vectors(const InputFile& file, const RowFile& rows, RowRange range,
                            bool exact_whole) {
    VectorData result;
    result.type = vector_type(rows.element, file.path());
    check(!rows.one_dimensional, StatusCode::Unsupported, file.path(), ": has one dimension of ",
          rows.rows, " values; save it as rows x columns, as by x.reshape(1, -1)");
    result.rows = range.count;
    result.cols = rows.cols;
    const size_t out_row = rows.cols * element_size(result.type);
    result.bytes.resize(range.count * out_row);
    uint8_t* out = result.bytes.mutable_data();
    if (rows.prefix_bytes == 0 && rows.element != FileElement::Float64) {
        const uint64_t offset = rows.data_offset + range.first * rows.row_bytes();
        file.read_at(offset, out, result.bytes.size(), "its rows");
        return result;
    }
    std::vector<double> wide(rows.element == FileElement::Float64 ? rows.cols : 0);
    std::vector<float> single(wide.size());
    for_each_row(file, rows, range, [&](const uint8_t* values, uint64_t row) {
        const void* from = values;
        if (!wide.empty()) {
            std::memcpy(wide.data(), values, rows.cols * sizeof(double));
            narrow(wide.data(), rows.cols, rows.cols, row, single.data(), file.path(), exact_whole);
            from = single.data();
        }
        std::memcpy(out + (row - range.first) * out_row, from, out_row);
    });
    return result;
}

IdData read_row_ids(const InputFile& file, const RowFile& rows, RowRange range) {
    check_ids(rows.element, file.path());
    IdData result;
    result.rows = range.count;
    result.cols = rows.cols;
    result.values.resize(range.count * rows.cols);
    for_each_row(file, rows, range, [&](const uint8_t* values, uint64_t row) {
        int64_t* out = result.values.data() + (row - range.first) * rows.cols;
        if (rows.element == FileElement::Int64) {
            std::memcpy(out, values, rows.cols * sizeof(int64_t));
            return;
        }
        for (size_t j = 0; j < rows.cols; ++j) {
            int32_t id = 0;
            std::memcpy(&id, values + j * sizeof id, sizeof id);
            out[j] = id;
        }
    });
    return result;
}

void append_rows(AtomicFile& file, const std::string& row_header, const void* data, uint64_t rows,
                 uint64_t row_bytes, uint64_t stride) {
    const uint8_t* from = static_cast<const uint8_t*>(data);
    if (row_header.empty() && stride == row_bytes) {
        file.append(from, rows * row_bytes);
        return;
    }
    const uint64_t block_rows =
        std::max<uint64_t>(1, kBufferBytes / (row_header.size() + row_bytes));
    std::string block;
    for (uint64_t i = 0; i < rows; ++i) {
        block += row_header;
        block.append(reinterpret_cast<const char*>(from + i * stride), row_bytes);
        if ((i + 1) % block_rows != 0 && i + 1 != rows) continue;
        file.append(block.data(), block.size());
        block.clear();
    }
}

void write_rows(const std::string& path, const RowHeader& header, const void* data, uint64_t rows,
                uint64_t row_bytes, uint64_t stride) {
    AtomicFile file(path);
    file.reserve(header.file.size() + rows * (header.row.size() + row_bytes));
    file.append(header.file.data(), header.file.size());
    append_rows(file, header.row, data, rows, row_bytes, stride);
    file.commit();
}

}  // namespace nearcell
