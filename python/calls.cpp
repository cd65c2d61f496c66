#include "calls.h"

#include <nanobind/stl/string.h>

#include <string>
#include <string_view>

namespace nearcell::python {
namespace {

PyObject* corrupt_file_error = nullptr;
PyObject* cancelled = nullptr;
PyObject* no_device = nullptr;

PyObject* exception_for(StatusCode code) {
    switch (code) {
        case StatusCode::InvalidArgument:
        case StatusCode::NonFinite:
        case StatusCode::AlreadyExists: return PyExc_ValueError;
        case StatusCode::NotTrained: return PyExc_RuntimeError;
        case StatusCode::NoDevice: return no_device;
        case StatusCode::NotFound: return PyExc_KeyError;
        case StatusCode::Unsupported: return PyExc_NotImplementedError;
        case StatusCode::Corrupt:
        case StatusCode::TooNew: return corrupt_file_error;
        case StatusCode::Io: return PyExc_OSError;
        case StatusCode::OutOfMemory: return PyExc_MemoryError;
        case StatusCode::Cancelled: return cancelled;
    }
    return PyExc_RuntimeError;
}

PyObject* new_exception(nb::module_& module, const char* name, const char* doc, PyObject* base) {
    const std::string full = nb::cast<std::string>(module.attr("__name__")) + "." + name;
    PyObject* type = PyErr_NewExceptionWithDoc(full.c_str(), doc, base, nullptr);
    if (type == nullptr) nb::raise_python_error();
    module.attr(name) = nb::borrow(type);
    return type;  // lives as long as the process
}

// The message may name a file whose name is no UTF-8.
PyObject* message_text(std::string_view message) {
    return PyUnicode_DecodeUTF8(message.data(), static_cast<Py_ssize_t>(message.size()),
                                "backslashreplace");
}

void set_error(PyObject* type, const Error& error) {
    PyObject* const text = message_text(error.what());
    if (text == nullptr) return;
    PyErr_SetObject(type, text);
    Py_DECREF(text);
}

// OSError(errno, message, file): Python makes it the class that belongs to errno, and shows the
// file behind the message, which therefore leaves it out.
void set_file_error(const Status& status) {
    const std::string_view message = std::string_view(status.message).substr(status.file.size());
    PyObject* const error = PyObject_CallFunction(
        PyExc_OSError, "iNN", status.system_error, message_text(message.substr(sizeof(": ") - 1)),
        PyUnicode_DecodeFSDefaultAndSize(status.file.data(),
                                         static_cast<Py_ssize_t>(status.file.size())));
    if (error == nullptr) return;
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error)), error);
    Py_DECREF(error);
}

}  // namespace

void bind_errors(nb::module_& module) {
    corrupt_file_error = new_exception(
        module, "CorruptFileError",
        "A file's bytes are not those that were saved, or are of a later format version.",
        PyExc_OSError);
    cancelled = new_exception(module, "Cancelled",
                              "A progress callback returned False (or 0, but not None).",
                              PyExc_RuntimeError);
    no_device = new_exception(module, "NoDevice", "The GPU that was asked for is not there.",
                              PyExc_RuntimeError);
    nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
        try {
            std::rethrow_exception(thrown);
        } catch (const Error& error) {
            if (error.status().system_error != 0) return set_file_error(error.status());
            set_error(exception_for(error.code()), error);
        }
    });
}

void throw_file_error(const Error& error) {
    if (error.code() != StatusCode::NotFound || error.status().system_error != 0) throw error;
    set_error(PyExc_FileNotFoundError, error);
    nb::raise_python_error();
}

Call::Call(nb::handle callback) : callback_(nb::borrow(callback)) {
    if (!callback.is_none() && PyCallable_Check(callback.ptr()) == 0) {
        const std::string message = "progress = " + nb::cast<std::string>(nb::repr(callback)) +
                                    " must be callable as progress(phase, done, total)";
        throw nb::type_error(message.c_str());
    }
    last_look_ = std::chrono::steady_clock::now();
}

bool Call::step(std::string_view phase, double done, double total) {
    using namespace std::chrono_literals;
    if (raised_) return false;
    const auto now = std::chrono::steady_clock::now();
    if (callback_.is_none() && now - last_look_ < 50ms) return true;
    last_look_ = now;
    const nb::gil_scoped_acquire acquire;
    try {
        if (PyErr_CheckSignals() != 0) nb::raise_python_error();
        if (callback_.is_none()) return true;
        const nb::object answer = callback_(nb::str(phase.data(), phase.size()), done, total);
        const int is_true = answer.is_none() ? 1 : PyObject_IsTrue(answer.ptr());
        if (is_true < 0) nb::raise_python_error();
        return is_true != 0;
    } catch (...) {
        raised_ = std::current_exception();
        return false;
    }
}

thread_local const Inside* Inside::top = nullptr;

Inside::Inside(const void* object, const char* operation) : object_(object), outer_(top) {
    for (const Inside* call = top; call != nullptr; call = call->outer_) {
        if (call->object_ != object) continue;
        const std::string message =
            std::string(operation) +
            " was called by a progress callback of the same object, which is "
            "busy: use it after the call has returned";
        throw std::runtime_error(message);
    }
    top = this;
}

}  // namespace nearcell::python
