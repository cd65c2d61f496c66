// Arrays between Python and the engine. Rows reads a matrix of vectors: numpy arrays and anything
// with DLPack on the CPU, of float32, float16, bfloat16, int8 or uint8, with values of a row beside
// each other, are used where they lie. Of Fortran order and other strides they are copied once, as
// they are; float64, 16-bit integers and lists to float32; other byte orders and rows of packed
// records by numpy before. Ids and Floats read the arguments that are not vectors. All throw Python
// errors that name the argument; all need the GIL, for their whole life.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nearcell/core/metric.h>
#include <nearcell/core/vectors.h>

namespace nearcell::python {

namespace nb = nanobind;
using Array = nb::ndarray<nb::ro, nb::device::cpu>;

class Rows {
   public:
    Rows(nb::handle x, const char* name);
    const Vectors& view() const { return view_; }

   private:
    Array array_;  // keeps the memory alive
    std::vector<uint8_t> bytes_;
    std::vector<float> copy_;
    Vectors view_;
};

// float32 rows, copied unless they are float32 already.
class FloatRows {
   public:
    FloatRows(nb::handle x, const char* name);
    MatrixView<const float> view() const { return view_; }

   private:
    Rows rows_;
    std::vector<float> copy_;
    MatrixView<const float> view_;
};

// int64 ids: a 1-d or, where `columns` is asked for, a 2-d array of integers, or a list of them.
class Ids {
   public:
    Ids(nb::handle x, const char* name, bool columns = false);
    std::span<const int64_t> span() const { return {values_, rows_ * cols_}; }
    MatrixView<const int64_t> matrix() const { return {values_, rows_, cols_}; }

   private:
    Array array_;
    std::vector<int64_t> copy_;
    const int64_t* values_ = nullptr;
    size_t rows_ = 0;
    size_t cols_ = 1;
};

// One float32 a row: weights, parameters. None gives an empty list.
std::vector<float> floats(nb::handle x, const char* name);

// A whole number (anything with __index__) of at least `minimum`; None gives `none` where it is
// given.
size_t whole_number(nb::handle x, const char* name, size_t minimum,
                    std::optional<size_t> none = std::nullopt);
// The same of any sign, clipped to what int64 holds: no id is stored beyond, nor at either end.
int64_t clipped_number(nb::handle x, const char* name);
int thread_count(nb::handle x);
double real_number(nb::handle x, const char* name);
Metric metric_argument(const std::string& name);
std::string path_argument(nb::handle path);

// Of a dtype that vectors may have in place.
std::optional<ElementType> element_type(nb::dlpack::dtype type);
// "(3, 4)"
template <class AnyArray>
std::string shape_text(const AnyArray& array) {
    std::string text = "(";
    for (size_t i = 0; i < array.ndim(); ++i)
        text += std::to_string(array.shape(i)) + (i + 1 < array.ndim() ? ", " : "");
    return text + (array.ndim() == 1 ? ",)" : ")");
}

// Imports x, first by numpy.asarray when it is not an array; whole numbers of a list as list_dtype.
// Throws TypeError.
Array import_array(nb::handle x, const char* name, const char* list_dtype = nullptr);
std::string dtype_name(nb::dlpack::dtype type);
inline std::string dtype_name(const Array& array) { return dtype_name(array.dtype()); }

// A numpy array that takes over the values.
template <class T>
nb::object numpy_array(std::vector<T> values, std::initializer_list<size_t> shape) {
    auto* owned = new std::vector<T>(std::move(values));
    nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    static T nothing{};
    T* data = owned->empty() ? &nothing : owned->data();
    return nb::ndarray<nb::numpy, T>(data, shape.size(), shape.begin(), owner).cast();
}

[[noreturn]] void value_error(const std::string& message);
[[noreturn]] void type_error(const std::string& message);

}  // namespace nearcell::python
