#include "device_arrays.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "arrays.h"

namespace nearcell::python {
namespace {

constexpr uintptr_t kLegacyStream = 1;  // DLPack's number of it, and CUDA's handle

std::string repr_text(nb::handle x) { return nb::cast<std::string>(nb::repr(x)); }

[[noreturn]] void refuse_stream(nb::handle stream) {
    type_error("stream = " + repr_text(stream) +
               " is none: pass its address, or an object of torch, cupy or cuda.core");
}

// The address that the object keeps, under the name that its library gives it.
nb::object stream_number(nb::handle stream) {
    if (PyIndex_Check(stream.ptr()) != 0 && !nb::isinstance<nb::bool_>(stream))
        return nb::borrow(stream);
    if (nb::hasattr(stream, "__cuda_stream__")) {  // (version, address)
        nb::object pair = stream.attr("__cuda_stream__");
        if (PyCallable_Check(pair.ptr()) != 0) pair = pair();
        return pair[1];
    }
    for (const char* name : {"cuda_stream", "ptr"}) {
        if (nb::hasattr(stream, name)) return stream.attr(name);
    }
    refuse_stream(stream);
}

// By DLPack, and on the caller's stream: what the producer still does to x there, or elsewhere, is
// done before.
nb::object capsule_of(nb::handle x, const Stream& stream) {
    const nb::object dlpack = x.attr("__dlpack__");
    try {
        return dlpack(nb::arg("stream") = stream.dlpack(),
                      nb::arg("max_version") = nb::make_tuple(1, 0));
    } catch (nb::python_error& error) {
        if (!error.matches(PyExc_TypeError)) throw;
    }
    return dlpack(nb::arg("stream") = stream.dlpack());  // producers from before versions
}

template <class AnyArray>
AnyArray import_from_gpu(nb::handle x, const std::string& name, const std::string& device,
                         const Stream& stream) {
    const std::string there = gpu_of(x);
    if (there != device) {
        const std::string place = there.empty() ? "in host memory" : "on " + there;
        type_error(name + " lies " + place + ", but the index is on " + device +
                   ": move one of them to the other");
    }
    AnyArray array;
    if (!nb::try_cast(capsule_of(x, stream), array, false))
        type_error(name + " cannot be read by DLPack: it may be read-only, or of another kind");
    return array;
}

int number_of(const std::string& device) {
    int number = 0;
    const size_t colon = device.find(':');
    if (colon == std::string::npos) return 0;
    std::from_chars(device.data() + colon + 1, device.data() + device.size(), number);
    return number;
}

struct Owned {
    Owned(const Device& device_, size_t bytes)
        : device(device_), memory(device.allocate(std::max<size_t>(bytes, 1))) {}
    ~Owned() { device.release(memory); }
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    const Device& device;
    void* memory;
};

// An object with __dlpack__ and __dlpack_device__, which any library makes its own of.
template <class T>
nb::object new_device_array(const Device& device, size_t ndim, const size_t* shape, T*& values) {
    size_t count = 1;
    for (size_t i = 0; i < ndim; ++i)
        count *= shape[i];
    auto memory = std::make_unique<Owned>(device, count * sizeof(T));
    values = static_cast<T*>(memory->memory);
    nb::capsule owner(memory.release(), [](void* p) noexcept { delete static_cast<Owned*>(p); });
    return nb::ndarray<nb::array_api, T>(values, ndim, shape, owner, nullptr, nb::dtype<T>(),
                                         nb::device::cuda::value, number_of(device.name()))
        .cast();
}

template <class T>
nb::ndarray<> import_result(nb::handle x, const std::string& name, const std::string& device,
                            size_t rows, size_t k, const Stream& stream) {
    auto array = import_from_gpu<nb::ndarray<>>(x, name, device, stream);
    const std::string wanted = dtype_name(nb::dtype<T>());
    if (array.dtype() != nb::dtype<T>()) {
        type_error(name + " has dtype " + dtype_name(array.dtype()) + ", but must be " + wanted +
                   ": out is (scores, ids), of float32 and int64");
    }
    const bool fits = array.ndim() == 2 && array.shape(0) == rows && array.shape(1) == k;
    if (!fits) {
        value_error(name + " has shape " + shape_text(array) + ", but must be (" +
                    std::to_string(rows) + ", " + std::to_string(k) + "): a row of k a query");
    }
    const bool packed = (k <= 1 || array.stride(1) == 1) &&
                        (rows <= 1 || array.stride(0) == static_cast<int64_t>(k));
    if (!packed) value_error(name + " has gaps between its values: pass one in C order");
    return array;
}

}  // namespace

Stream::Stream(nb::handle stream) {
    if (stream.is_none()) return;
    const nb::object number = nb::steal(PyNumber_Index(stream_number(stream).ptr()));
    if (!number.is_valid()) nb::raise_python_error();
    uintptr_t address = 0;
    if (!nb::try_cast(number, address)) refuse_stream(stream);
    if (address > kLegacyStream) handle_ = PyLong_AsVoidPtr(number.ptr());
}

nb::object Stream::dlpack() const {
    const auto address = reinterpret_cast<uintptr_t>(handle_);
    return nb::int_(address == 0 ? kLegacyStream : address);
}

std::string gpu_of(nb::handle x) {
    if (!nb::hasattr(x, "__dlpack_device__") || !nb::hasattr(x, "__dlpack__")) return "";
    const nb::object device = x.attr("__dlpack_device__")();
    const int kind = nb::cast<int>(nb::object(device[0]));
    if (kind != nb::device::cuda::value && kind != nb::device::cuda_managed::value) return "";
    return "cuda:" + std::to_string(nb::cast<int>(nb::object(device[1])));
}

DeviceRows::DeviceRows(nb::handle x, const char* name, const std::string& device,
                       const Stream& stream)
    : array_(import_from_gpu<nb::ndarray<nb::ro>>(x, name, device, stream)) {
    if (array_.ndim() != 2) {
        value_error(std::string(name) + " has shape " + shape_text(array_) +
                    ", but must be 2-d, rows x dimension: for one vector pass x[None, :]");
    }
    const std::optional<ElementType> type = element_type(array_.dtype());
    if (!type) {
        type_error(std::string(name) + " has dtype " + dtype_name(array_.dtype()) +
                   ", but vectors on a GPU must be float32, float16, bfloat16, int8 or uint8: "
                   "convert it there");
    }
    const size_t rows = array_.shape(0), cols = array_.shape(1);
    const bool packed = cols <= 1 || array_.stride(1) == 1;
    const bool forward = rows <= 1 || array_.stride(0) >= static_cast<int64_t>(cols);
    if (!packed || !forward) {
        value_error(std::string(name) +
                    " on a GPU must have the values of a row beside each other, and rows in "
                    "order: make it contiguous there");
    }
    view_ = Vectors(array_.data(), *type, rows, cols);
    if (rows > 1) view_.stride = static_cast<size_t>(array_.stride(0));
}

DeviceResults::DeviceResults(const Device& device, size_t rows, size_t k) {
    const size_t shape[] = {rows, k};
    scores_array_ = new_device_array(device, 2, shape, scores_);
    ids_array_ = new_device_array(device, 2, shape, ids_);
}

DeviceResults::DeviceResults(nb::handle out, const std::string& device, size_t rows, size_t k,
                             const Stream& stream) {
    if (PySequence_Check(out.ptr()) == 0 || nb::len(out) != 2)
        type_error("out = " + repr_text(out) + " must be a pair of arrays, (scores, ids)");
    scores_array_ = out[0];
    ids_array_ = out[1];
    given_scores_ =
        import_result<float>(scores_array_, "out[0], the scores,", device, rows, k, stream);
    given_ids_ = import_result<int64_t>(ids_array_, "out[1], the ids,", device, rows, k, stream);
    scores_ = static_cast<float*>(static_cast<void*>(given_scores_.data()));
    ids_ = static_cast<int64_t*>(static_cast<void*>(given_ids_.data()));
}

nb::object new_device_counts(const Device& device, size_t rows, int64_t*& values) {
    return new_device_array(device, 1, &rows, values);
}

}  // namespace nearcell::python
