// Vectors: the vectors a caller hands in, of any supported element type, never copied as a whole.
// The engine reads them in slices of rows converted to float32 (read_rows). Cost: five words.
// Thread safety: that of the memory it points to; the caller keeps it alive for the call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <nearcell/core/matrix_view.h>

namespace nearcell {

enum class ElementType { Float32, Float16, BFloat16, Int8, UInt8 };

constexpr size_t element_size(ElementType type) {
    switch (type) {
        case ElementType::Float32: return 4;
        case ElementType::Float16:
        case ElementType::BFloat16: return 2;
        case ElementType::Int8:
        case ElementType::UInt8: return 1;
    }
    return 0;
}

constexpr std::string_view element_name(ElementType type) {
    switch (type) {
        case ElementType::Float32: return "float32";
        case ElementType::Float16: return "float16";
        case ElementType::BFloat16: return "bfloat16";
        case ElementType::Int8: return "int8";
        case ElementType::UInt8: return "uint8";
    }
    return "?";
}

struct Vectors {
    const void* data = nullptr;
    ElementType type = ElementType::Float32;
    size_t rows = 0;
    size_t cols = 0;
    size_t stride = 0;  // elements between the starts of two rows

    Vectors() = default;
    Vectors(MatrixView<const float> x)
        : data(x.data), rows(x.rows), cols(x.cols), stride(x.stride) {}
    Vectors(MatrixView<float> x) : Vectors(MatrixView<const float>(x)) {}
    Vectors(const void* data_, ElementType type_, size_t rows_, size_t cols_)
        : data(data_), type(type_), rows(rows_), cols(cols_), stride(cols_) {}

    const void* row(size_t i) const {
        return static_cast<const char*>(data) + i * stride * element_size(type);
    }
    Vectors slice(size_t first, size_t count) const {
        Vectors part = *this;
        part.data = row(first);
        part.rows = count;
        return part;
    }
};

// Converts rows [first, first + out.rows) to float32.
void read_rows(const Vectors& vectors, size_t first, MatrixView<float> out);

// Converts the listed rows to float32: out row i = vectors row rows[i].
void gather_rows(const Vectors& vectors, const size_t* rows, MatrixView<float> out, int threads);

// The largest value that rows of so many columns may have: larger ones could make the squared
// distance of two rows infinite.
float largest_value(size_t cols);

// Throws NonFinite naming `name`, the row and the column of the first NaN or infinity, and
// InvalidArgument of the first value so large that squared distances would overflow. `first_row` is
// the number that vectors.row(0) has in `name`.
void check_finite(const Vectors& vectors, std::string_view name, int threads, size_t first_row = 0);

// Throws InvalidArgument unless vectors.cols == dim; `name` names the argument in the message.
void check_dim(const Vectors& vectors, size_t dim, std::string_view name);

}  // namespace nearcell
