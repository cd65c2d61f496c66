#include <nearcell/core/vectors.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include <nearcell/core/error.h>
#include <nearcell/core/half.h>
#include <nearcell/core/parallel.h>

namespace nearcell {
namespace {

void convert_row(const void* row, ElementType type, size_t cols, float* out) {
    switch (type) {
        case ElementType::Float32: std::memcpy(out, row, cols * sizeof(float)); return;
        case ElementType::Float16: {
            const uint16_t* values = static_cast<const uint16_t*>(row);
            for (size_t j = 0; j < cols; ++j)
                out[j] = float_from_float16(values[j]);
            return;
        }
        case ElementType::BFloat16: {
            const uint16_t* values = static_cast<const uint16_t*>(row);
            for (size_t j = 0; j < cols; ++j)
                out[j] = float_from_bfloat16(values[j]);
            return;
        }
        case ElementType::Int8: {
            const int8_t* values = static_cast<const int8_t*>(row);
            for (size_t j = 0; j < cols; ++j)
                out[j] = static_cast<float>(values[j]);
            return;
        }
        case ElementType::UInt8: {
            const uint8_t* values = static_cast<const uint8_t*>(row);
            for (size_t j = 0; j < cols; ++j)
                out[j] = static_cast<float>(values[j]);
            return;
        }
    }
}

// The first column whose value is NaN or larger than that, or cols.
size_t first_unusable(const void* row, ElementType type, size_t cols) {
    // Without its sign bit, a float's order is that of its bits; NaN and infinity come last.
    const uint32_t limit = std::bit_cast<uint32_t>(largest_value(cols));
    const auto bad = [&](size_t j) {
        switch (type) {
            case ElementType::Float32:
                return (std::bit_cast<uint32_t>(static_cast<const float*>(row)[j]) & 0x7fffffffu) >
                       limit;
            case ElementType::Float16:
                return (static_cast<const uint16_t*>(row)[j] & 0x7c00u) == 0x7c00u;
            case ElementType::BFloat16:
                return static_cast<uint32_t>(static_cast<const uint16_t*>(row)[j] & 0x7fffu) << 16 >
                       limit;
            default: return false;
        }
    };
    if (type == ElementType::Float32) {  // integer arithmetic, which the compiler vectorises
        const float* values = static_cast<const float*>(row);
        int32_t found = 0;
        for (size_t j = 0; j < cols; ++j) {
            found |= (std::bit_cast<int32_t>(values[j]) & 0x7fffffff) > static_cast<int32_t>(limit)
                         ? 1
                         : 0;
        }
        if (found == 0) return cols;
    }
    for (size_t j = 0; j < cols; ++j) {
        if (bad(j)) return j;
    }
    return cols;
}

}  // namespace

float largest_value(size_t cols) {
    const double room = 16.0 * static_cast<double>(std::max<size_t>(1, cols));
    return static_cast<float>(
        std::sqrt(static_cast<double>(std::numeric_limits<float>::max()) / room));
}

void read_rows(const Vectors& vectors, size_t first, MatrixView<float> out) {
    for (size_t i = 0; i < out.rows; ++i) {
        convert_row(vectors.row(first + i), vectors.type, vectors.cols, out.row(i));
    }
}

void gather_rows(const Vectors& vectors, const size_t* rows, MatrixView<float> out, int threads) {
    constexpr size_t kRows = 1024;
    parallel_for((out.rows + kRows - 1) / kRows, threads, [&](size_t task, int) {
        const size_t end = std::min(out.rows, (task + 1) * kRows);
        for (size_t i = task * kRows; i < end; ++i)
            convert_row(vectors.row(rows[i]), vectors.type, vectors.cols, out.row(i));
    });
}

void check_finite(const Vectors& vectors, std::string_view name, int threads, size_t first_row) {
    if (vectors.type == ElementType::Int8 || vectors.type == ElementType::UInt8) return;
    constexpr size_t kRows = 1024;
    const size_t tasks = (vectors.rows + kRows - 1) / kRows;
    std::atomic<size_t> first_bad{vectors.rows};
    parallel_for(tasks, threads, [&](size_t task, int) {
        const size_t end = std::min(vectors.rows, (task + 1) * kRows);
        for (size_t i = task * kRows; i < end && i < first_bad.load(); ++i) {
            if (first_unusable(vectors.row(i), vectors.type, vectors.cols) == vectors.cols)
                continue;
            size_t seen = first_bad.load();
            while (i < seen && !first_bad.compare_exchange_weak(seen, i)) {
            }
            return;
        }
    });
    const size_t row = first_bad.load();
    if (row == vectors.rows) return;
    const size_t col = first_unusable(vectors.row(row), vectors.type, vectors.cols);
    float value = 0;
    convert_row(static_cast<const char*>(vectors.row(row)) + col * element_size(vectors.type),
                vectors.type, 1, &value);
    check(!std::isfinite(value), StatusCode::InvalidArgument, name, "[", first_row + row, ", ", col,
          "] = ", value, " is too large: values must be within +-", largest_value(vectors.cols),
          ", so that squared distances stay finite; scale the data down");
    throw_error(StatusCode::NonFinite, name, "[", first_row + row, ", ", col,
                "] is NaN or infinite; all values must be finite: drop or repair such rows first");
}

void check_dim(const Vectors& vectors, size_t dim, std::string_view name) {
    check(vectors.cols == dim, StatusCode::InvalidArgument, name, " has ", vectors.cols,
          " columns, but the dimension is ", dim, ": pass rows of ", dim, " values");
    check(vectors.rows == 0 || vectors.data != nullptr, StatusCode::InvalidArgument, name,
          " is a null pointer with ", vectors.rows, " rows: pass the address of the first row");
    check(element_size(vectors.type) != 0, StatusCode::InvalidArgument, name, " has the type ",
          static_cast<int>(vectors.type), ", which is none: pass one of ElementType");
    check(vectors.stride >= vectors.cols || vectors.rows <= 1, StatusCode::InvalidArgument, name,
          " has a stride of ", vectors.stride, " values, but rows of ", vectors.cols,
          ": rows must not overlap");
}

}  // namespace nearcell
