#include "arrays.h"

#include <cmath>
#include <limits>
#include <sstream>
#include <string_view>

#include <nearcell/core/half.h>

namespace nearcell::python {
namespace {

using nb::dlpack::dtype_code;

constexpr const char* kVectorTypes =
    "float32, float16, bfloat16, int8, uint8 (used in place), "
    "float64, int16 or uint16 (copied to float32)";

bool is(nb::dlpack::dtype type, dtype_code code, int bits) {
    return type.code == static_cast<uint8_t>(code) && type.bits == bits && type.lanes == 1;
}

bool is(const Array& array, dtype_code code, int bits) { return is(array.dtype(), code, bits); }

template <class From, class To, class Convert>
void copy_strided(const Array& array, To* out, Convert convert) {
    const From* data = static_cast<const From*>(array.data());
    const size_t cols = array.ndim() > 1 ? array.shape(1) : 1;
    for (size_t i = 0; i < array.shape(0); ++i) {
        for (size_t j = 0; j < cols; ++j) {
            const int64_t at = static_cast<int64_t>(i) * array.stride(0) +
                               (array.ndim() > 1 ? static_cast<int64_t>(j) * array.stride(1) : 0);
            *out++ = convert(data[at]);
        }
    }
}

template <class From, class To>
bool copy_if(const Array& array, dtype_code code, To* out) {
    if (!is(array, code, static_cast<int>(8 * sizeof(From)))) return false;
    copy_strided<From>(array, out, [](From value) { return static_cast<To>(value); });
    return true;
}

// float64 holds what float32 does not.
void check_no_overflow(const Array& array, const float* copy, const char* name) {
    const double* data = static_cast<const double*>(array.data());
    const size_t cols = array.ndim() > 1 ? array.shape(1) : 1;
    for (size_t i = 0; i < array.shape(0); ++i) {
        for (size_t j = 0; j < cols; ++j) {
            if (!std::isinf(copy[i * cols + j])) continue;
            const int64_t at = static_cast<int64_t>(i) * array.stride(0) +
                               (array.ndim() > 1 ? static_cast<int64_t>(j) * array.stride(1) : 0);
            if (std::isinf(data[at])) continue;
            std::ostringstream text;
            text << name << "[" << i;
            if (array.ndim() > 1) text << ", " << j;
            text << "] = " << data[at] << " is too large for float32, whose largest value is "
                 << std::numeric_limits<float>::max() << ": scale the data down";
            value_error(text.str());
        }
    }
}

// Rows one after another, of the array's own type, whose elements are Word's size.
template <class Word>
const void* packed(const Array& array, std::vector<uint8_t>& copy) {
    copy.resize(array.shape(0) * array.shape(1) * sizeof(Word));
    copy_strided<Word>(array, reinterpret_cast<Word*>(copy.data()), [](Word word) { return word; });
    return copy.data();
}

// False when the array's type is not one that vectors may have.
bool copy_to_float(const Array& array, float* out, const char* name) {
    if (copy_if<double>(array, dtype_code::Float, out)) {
        check_no_overflow(array, out, name);
        return true;
    }
    if (is(array, dtype_code::Float, 16)) {
        copy_strided<uint16_t>(array, out, [](uint16_t h) { return float_from_float16(h); });
        return true;
    }
    if (is(array, dtype_code::Bfloat, 16)) {
        copy_strided<uint16_t>(array, out, [](uint16_t b) { return float_from_bfloat16(b); });
        return true;
    }
    return copy_if<float>(array, dtype_code::Float, out) ||
           copy_if<int8_t>(array, dtype_code::Int, out) ||
           copy_if<uint8_t>(array, dtype_code::UInt, out) ||
           copy_if<int16_t>(array, dtype_code::Int, out) ||
           copy_if<uint16_t>(array, dtype_code::UInt, out);
}

bool copy_to_int64(const Array& array, int64_t* out, const char* name) {
    if (is(array, dtype_code::UInt, 64)) {
        copy_strided<uint64_t>(array, out, [name](uint64_t value) {
            if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
                value_error(std::string(name) + " holds " + std::to_string(value) +
                            ", which is above the largest id, 2^63 - 1: use smaller ids");
            }
            return static_cast<int64_t>(value);
        });
        return true;
    }
    return copy_if<int64_t>(array, dtype_code::Int, out) ||
           copy_if<int32_t>(array, dtype_code::Int, out) ||
           copy_if<int16_t>(array, dtype_code::Int, out) ||
           copy_if<int8_t>(array, dtype_code::Int, out) ||
           copy_if<uint32_t>(array, dtype_code::UInt, out) ||
           copy_if<uint16_t>(array, dtype_code::UInt, out) ||
           copy_if<uint8_t>(array, dtype_code::UInt, out);
}

bool is_array(nb::handle x) {
    return nb::hasattr(x, "__dlpack__") || nb::hasattr(x, "__array_interface__") ||
           PyObject_CheckBuffer(x.ptr()) != 0;
}

void refuse_other_devices(nb::handle x, const char* name) {
    if (!nb::hasattr(x, "__dlpack_device__")) return;
    const nb::object device = x.attr("__dlpack_device__")();
    const nb::object first = device[0];
    const int kind = nb::cast<int>(first);
    if (kind == nb::device::cpu::value) return;
    type_error(std::string(name) + " lies on another device (DLPack device type " +
               std::to_string(kind) + "), but only the CPU's memory can be read: copy it first, " +
               "for example by .cpu()");
}

// Whole numbers in lists become arrays of the wanted type at once; all else is left to the reader.
nb::object as_array(nb::handle x, const char* name, const char* list_dtype) {
    if (is_array(x)) return nb::borrow(x);
    const bool is_list = (PySequence_Check(x.ptr()) != 0 || nb::hasattr(x, "__array__")) &&
                         nb::hasattr(x, "__len__") && !nb::isinstance<nb::str>(x);
    if (!is_list) {
        type_error(std::string(name) + " is a " +
                   nb::cast<std::string>(nb::str(x.type().attr("__name__"))) +
                   ", not an array: pass a numpy array, anything with DLPack, or a list");
    }
    const nb::module_ numpy = nb::module_::import_("numpy");
    try {
        nb::object plain = numpy.attr("asarray")(x);
        const std::string kind = nb::cast<std::string>(plain.attr("dtype").attr("kind"));
        const bool empty = nb::cast<size_t>(plain.attr("size")) == 0;
        if (list_dtype == nullptr || (!empty && kind != "i")) return plain;
        return plain.attr("astype")(list_dtype);
    } catch (nb::python_error& error) {
        type_error(std::string(name) + " cannot be made an array (" + error.what() +
                   "): pass rows of equal length");
    }
}

// numpy's own arrays that DLPack cannot say: of another byte order, or, as fields of packed
// records, with rows that do not lie whole values apart.
nb::object plain_copy(nb::handle x) {
    return x.attr("astype")(x.attr("dtype").attr("newbyteorder")("="), nb::arg("order") = "C");
}

// Passes on why __dlpack__ refuses, such as of a tensor that a gradient is wanted of.
void refuse_with_reason(nb::handle x, const char* name) {
    try {
        x.attr("__dlpack__")();
    } catch (nb::python_error& error) {
        const std::string reason = nb::cast<std::string>(nb::str(error.value()));
        nb::raise_from(error, PyExc_TypeError, "%s cannot be read by DLPack: %s", name,
                       reason.c_str());
    }
}

Array import_as(nb::handle x, const char* name, const char* list_dtype) {
    Array array;
    if (nb::try_cast(x, array, false)) return array;
    const nb::object object = as_array(x, name, list_dtype);
    if (nb::try_cast(object, array, false)) return array;
    const bool is_numpy = nb::isinstance(object, nb::module_::import_("numpy").attr("ndarray"));
    if (is_numpy && nb::try_cast(plain_copy(object), array, false)) return array;
    refuse_other_devices(object, name);
    if (!is_numpy && nb::hasattr(object, "__dlpack__")) refuse_with_reason(object, name);
    std::string type = "an unknown type";
    if (nb::hasattr(object, "dtype")) {
        const nb::object dtype = object.attr("dtype");
        type = nb::cast<std::string>(nb::str(dtype));
    }
    const bool is_ids = list_dtype != nullptr && std::string_view(list_dtype) == "int64";
    type_error(std::string(name) + " has dtype " + type + ", which cannot be read: " +
               (is_ids ? "ids must be integers below 2^63: convert them, for example by "
                         ".astype(numpy.int64)"
                       : "convert it, for example by .astype(numpy.float32)"));
}

// Python's int of x. A TypeError names the argument; what else __index__ raises is passed on.
nb::object python_int(nb::handle x, const char* name, const std::string& wanted) {
    nb::object number;
    if (!nb::isinstance<nb::bool_>(x)) number = nb::steal(PyNumber_Index(x.ptr()));
    if (number.is_valid()) return number;
    if (PyErr_Occurred() != nullptr) {
        if (PyErr_ExceptionMatches(PyExc_TypeError) == 0) nb::raise_python_error();
        PyErr_Clear();
    }
    type_error(std::string(name) + " = " + nb::cast<std::string>(nb::repr(x)) + " must be " +
               wanted);
}

}  // namespace

void value_error(const std::string& message) { throw nb::value_error(message.c_str()); }
void type_error(const std::string& message) { throw nb::type_error(message.c_str()); }

std::optional<ElementType> element_type(nb::dlpack::dtype type) {
    if (is(type, dtype_code::Float, 32)) return ElementType::Float32;
    if (is(type, dtype_code::Float, 16)) return ElementType::Float16;
    if (is(type, dtype_code::Bfloat, 16)) return ElementType::BFloat16;
    if (is(type, dtype_code::Int, 8)) return ElementType::Int8;
    if (is(type, dtype_code::UInt, 8)) return ElementType::UInt8;
    return std::nullopt;
}

std::string dtype_name(nb::dlpack::dtype type) {
    const std::string bits = std::to_string(static_cast<int>(type.bits));
    switch (static_cast<dtype_code>(type.code)) {
        case dtype_code::Int: return "int" + bits;
        case dtype_code::UInt: return "uint" + bits;
        case dtype_code::Float: return "float" + bits;
        case dtype_code::Bfloat: return "bfloat" + bits;
        case dtype_code::Complex: return "complex" + bits;
        case dtype_code::Bool: return "bool";
        default: return "an unknown type";
    }
}

Array import_array(nb::handle x, const char* name, const char* list_dtype) {
    return import_as(x, name, list_dtype);
}

Rows::Rows(nb::handle x, const char* name) : array_(import_as(x, name, "float32")) {
    if (array_.ndim() != 2) {
        const std::string remedy =
            array_.ndim() == 1 ? "for one vector pass x[None, :]" : "reshape it to rows of vectors";
        value_error(std::string(name) + " has shape " + shape_text(array_) +
                    ", but must be 2-d, rows x dimension: " + remedy);
    }
    const size_t rows = array_.shape(0), cols = array_.shape(1);
    const std::optional<ElementType> type = element_type(array_.dtype());
    const bool beside = cols <= 1 || array_.stride(1) == 1;
    const bool forward = rows <= 1 || array_.stride(0) >= static_cast<int64_t>(cols);
    if (type && beside && forward) {
        view_ = Vectors(array_.data(), *type, rows, cols);
        if (rows > 1) view_.stride = static_cast<size_t>(array_.stride(0));
        return;
    }
    if (type && element_size(*type) == 1) {
        view_ = Vectors(packed<uint8_t>(array_, bytes_), *type, rows, cols);
        return;
    }
    if (type && element_size(*type) == 2) {
        view_ = Vectors(packed<uint16_t>(array_, bytes_), *type, rows, cols);
        return;
    }
    copy_.resize(rows * cols);
    if (!copy_to_float(array_, copy_.data(), name)) {
        type_error(std::string(name) + " has dtype " + dtype_name(array_) +
                   ", but vectors must be " + kVectorTypes +
                   ": convert it, for example by .astype(numpy.float32)");
    }
    view_ = Vectors(copy_.data(), ElementType::Float32, rows, cols);
}

FloatRows::FloatRows(nb::handle x, const char* name) : rows_(x, name) {
    const Vectors& v = rows_.view();
    if (v.type == ElementType::Float32) {
        view_ = {static_cast<const float*>(v.data), v.rows, v.cols, v.stride};
        return;
    }
    copy_.resize(v.rows * v.cols);
    const MatrixView<float> out(copy_.data(), v.rows, v.cols);
    read_rows(v, 0, out);
    view_ = out;
}

Ids::Ids(nb::handle x, const char* name, bool columns) : array_(import_as(x, name, "int64")) {
    const size_t wanted = columns ? 2 : 1;
    if (array_.ndim() != wanted) {
        value_error(
            std::string(name) + " has shape " + shape_text(array_) + ", but must be " +
            (columns ? "2-d, a row of ids a query" : "1-d, a list of ids: for one id pass [id]"));
    }
    rows_ = array_.shape(0);
    if (columns) cols_ = array_.shape(1);
    const bool packed = (rows_ <= 1 || array_.stride(0) == static_cast<int64_t>(cols_)) &&
                        (!columns || cols_ <= 1 || array_.stride(1) == 1);
    if (is(array_, dtype_code::Int, 64) && packed) {
        values_ = static_cast<const int64_t*>(array_.data());
        return;
    }
    copy_.resize(rows_ * cols_);
    if (!copy_to_int64(array_, copy_.data(), name)) {
        type_error(std::string(name) + " has dtype " + dtype_name(array_) +
                   ", but ids must be integers: convert them by .astype(numpy.int64)");
    }
    values_ = copy_.data();
}

std::vector<float> floats(nb::handle x, const char* name) {
    if (x.is_none()) return {};
    const Array array = import_as(x, name, "float32");
    if (array.ndim() != 1) {
        value_error(std::string(name) + " has shape " + shape_text(array) +
                    ", but must be 1-d: flatten it by .ravel()");
    }
    std::vector<float> values(array.shape(0));
    if (!copy_to_float(array, values.data(), name)) {
        type_error(std::string(name) + " has dtype " + dtype_name(array) +
                   ", but must be real numbers: convert it by .astype(numpy.float32)");
    }
    return values;
}

size_t whole_number(nb::handle x, const char* name, size_t minimum, std::optional<size_t> none) {
    if (x.is_none() && none) return *none;
    const nb::object number =
        python_int(x, name, "a whole number of at least " + std::to_string(minimum));
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
    if (overflow != 0 || value < static_cast<long long>(minimum)) {
        value_error(std::string(name) + " = " + nb::cast<std::string>(nb::str(number)) +
                    (overflow > 0 ? " is above the largest number, 2^63 - 1: use a smaller one"
                                  : " must be at least " + std::to_string(minimum)));
    }
    return static_cast<size_t>(value);
}

int64_t clipped_number(nb::handle x, const char* name) {
    const nb::object number = python_int(x, name, "a whole number");
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
    if (overflow == 0) return value;
    return overflow > 0 ? std::numeric_limits<int64_t>::max() : std::numeric_limits<int64_t>::min();
}

int thread_count(nb::handle x) {
    const size_t threads = whole_number(x, "threads", 1, 0);
    if (threads > 65536) {
        value_error("threads = " + std::to_string(threads) +
                    " is above the limit of 65536: use None for all processors");
    }
    return static_cast<int>(threads);
}

double real_number(nb::handle x, const char* name) {
    const double value = PyFloat_AsDouble(x.ptr());
    if (value == -1.0 && PyErr_Occurred() != nullptr) {
        const bool too_large = PyErr_ExceptionMatches(PyExc_OverflowError) != 0;
        if (!too_large && PyErr_ExceptionMatches(PyExc_TypeError) == 0) nb::raise_python_error();
        PyErr_Clear();
        const std::string given = std::string(name) + " = " + nb::cast<std::string>(nb::repr(x));
        if (too_large)
            value_error(given + " is above the largest float, 1.8e308: use a smaller one");
        type_error(given + " must be a number");
    }
    if (std::isnan(value)) value_error(std::string(name) + " = nan must be a number, not NaN");
    return value;
}

Metric metric_argument(const std::string& name) {
    const std::optional<Metric> metric = metric_from_name(name);
    if (!metric) {
        value_error("metric = '" + name + "' is not known: use 'l2', 'ip', 'cosine' or 'l1'");
    }
    return *metric;
}

std::string path_argument(nb::handle path) {
    PyObject* bytes = nullptr;
    if (PyUnicode_FSConverter(path.ptr(), &bytes) == 0) nb::raise_python_error();
    const nb::bytes owned = nb::steal<nb::bytes>(bytes);
    return std::string(owned.c_str(), owned.size());
}

}  // namespace nearcell::python
