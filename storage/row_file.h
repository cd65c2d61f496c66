// RowFile: what the header of a vector file says: where rows of one element type lie. Each format's
// io_*.cpp turns its header into one, checked against the file's length, and a shape into a header;
// row_file.cpp reads and writes the rows of all of them (HDF5's are libhdf5's). Internal to
// storage/; use vector_file.h. Thread safe.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/storage/atomic_file.h>
#include <nearcell/storage/input_file.h>
#include <nearcell/storage/vector_file.h>

namespace nearcell {

static_assert(std::endian::native == std::endian::little, "vector files are read as little endian");

// What files hold: ElementType, doubles (narrowed when read) and the integers that ids are kept in.
enum class FileElement { Float32, Float16, BFloat16, Int8, UInt8, Float64, Int32, Int64 };

size_t file_element_size(FileElement element);
std::string_view file_element_name(FileElement element);
FileElement file_element(ElementType type);
inline bool holds_ids(FileElement element) {
    return element == FileElement::Int32 || element == FileElement::Int64;
}
// The type that values come in when they are read as vectors; throws Unsupported for ids.
ElementType vector_type(FileElement element, const std::string& path);
void check_ids(FileElement element, const std::string& path);  // throws Unsupported for vectors

struct RowFile {
    VectorFormat format = VectorFormat::Raw;
    FileElement element = FileElement::Float32;
    uint64_t rows = 0;
    uint64_t cols = 0;
    uint64_t data_offset = 0;
    uint64_t prefix_bytes = 0;  // before each row: the dimension again, in the vecs formats
    bool one_dimensional = false;

    uint64_t row_bytes() const { return prefix_bytes + cols * file_element_size(element); }
};

// Bytes of the rows of an untrusted shape; throws Corrupt when they overflow, when there are no
// columns, or when there are so many columns and no rows that nothing bounds them.
uint64_t checked_row_bytes(const RowFile& rows, const std::string& path);

RowFile parse_vecs(const InputFile& file, VectorFormat format);
RowFile parse_bin(const InputFile& file, VectorFormat format);
RowFile parse_npy(const InputFile& file);
RowFile parse_raw(const InputFile& file, const VectorFileOptions& options);

// What comes before all rows, and before each. Throw InvalidArgument for what the format cannot
// hold.
struct RowHeader {
    std::string file;
    std::string row;
};
RowHeader vecs_header(VectorFormat format, FileElement element, uint64_t rows, uint64_t cols);
RowHeader bin_header(VectorFormat format, FileElement element, uint64_t rows, uint64_t cols);
RowHeader npy_header(FileElement element, uint64_t rows, uint64_t cols);
// That of any format but HDF5.
RowHeader row_header(VectorFormat format, FileElement element, uint64_t rows, uint64_t cols);

// What a format holds ids in; throws InvalidArgument when it holds none.
FileElement id_element(VectorFormat format, const std::string& path);
// Throws InvalidArgument naming the first id that int32 cannot hold; `first_row` is that of ids[0].
std::vector<int32_t> narrow_ids(const std::string& path, VectorFormat format, const int64_t* ids,
                                size_t rows, size_t cols, uint64_t first_row);

// The rows that options ask for; throws InvalidArgument when the first is beyond the end.
struct RowRange {
    uint64_t first = 0;
    uint64_t count = 0;
};
RowRange choose_rows(uint64_t rows, const VectorFileOptions& options, const std::string& path);

VectorData read_row_vectors(const InputFile& file, const RowFile& rows, RowRange range,
                            bool exact_whole);
IdData read_row_ids(const InputFile& file, const RowFile& rows, RowRange range);

// `stride` is in bytes; `row_header` comes before each row.
void append_rows(AtomicFile& file, const std::string& row_header, const void* data, uint64_t rows,
                 uint64_t row_bytes, uint64_t stride);
void write_rows(const std::string& path, const RowHeader& header, const void* data, uint64_t rows,
                uint64_t row_bytes, uint64_t stride);

// Narrows doubles of consecutive rows, the first being `first_row`; throws Unsupported naming the
// row and column of a finite value that float32 cannot hold. With `exact_whole` also of a whole
// number that float32 would round, up to 2^53, beyond which float64 has no others.
void narrow(const double* values, size_t count, size_t cols, uint64_t first_row, float* out,
            const std::string& path, bool exact_whole);

// "name.hdf5:data set"; `fallback` is the data set where none is named.
RowFile hdf5_info(const std::string& path, std::string_view fallback);
VectorData hdf5_read_vectors(const std::string& path, std::string_view fallback,
                             const VectorFileOptions& options);
IdData hdf5_read_ids(const std::string& path, std::string_view fallback,
                     const VectorFileOptions& options);
// `stride` is in elements; `together`: as in VectorFileOptions.
void hdf5_write(const std::string& path, std::string_view fallback, FileElement element,
                const void* data, uint64_t rows, uint64_t cols, uint64_t stride,
                const std::vector<std::string>& together);
void hdf5_check_write(const std::string& path, std::string_view fallback, FileElement element,
                      const std::vector<std::string>& together);

}  // namespace nearcell
