// MatrixView<T>: a non-owning view of `rows` x `cols` values in row-major order with a row stride.
// The way vectors travel inside nearcell; public calls take `Vectors` (vectors.h), which also
// carries other element types. Cost: four words, copied freely. Thread safety: that of the memory
// it points to.
#pragma once

#include <cstddef>
#include <type_traits>

namespace nearcell {

template <class T>
struct MatrixView {
    T* data = nullptr;
    size_t rows = 0;
    size_t cols = 0;
    size_t stride = 0;  // elements between the starts of two rows, >= cols

    MatrixView() = default;
    MatrixView(T* data_, size_t rows_, size_t cols_) : MatrixView(data_, rows_, cols_, cols_) {}
    MatrixView(T* data_, size_t rows_, size_t cols_, size_t stride_)
        : data(data_), rows(rows_), cols(cols_), stride(stride_) {}

    // A view of const values from a view of mutable ones.
    template <class U>
    requires(std::is_same_v<const U, T> && !std::is_const_v<U>)
        MatrixView(const MatrixView<U>& other)
        : MatrixView(other.data, other.rows, other.cols, other.stride) {}

    T* row(size_t i) const { return data + i * stride; }
    MatrixView slice(size_t first, size_t count) const {
        return {data + first * stride, count, cols, stride};
    }
};

}  // namespace nearcell
