// Calls from Python into the engine: without the GIL, with progress callbacks that take it back,
// with Python's own exceptions passing through, and Ctrl-C noticed. Errors of the engine become
// Python exceptions here and nowhere else.
#pragma once

#include <nanobind/nanobind.h>

#include <chrono>
#include <exception>
#include <string_view>
#include <utility>

#include <nearcell/core/error.h>
#include <nearcell/core/progress.h>

namespace nearcell::python {

namespace nb = nanobind;

// Creates CorruptFileError, Cancelled and NoDevice in the module and installs the translation of
// Error.
void bind_errors(nb::module_& module);

// Files that are not there: FileNotFoundError, where missing ids are a KeyError.
[[noreturn]] void throw_file_error(const Error& error);

// One call of the engine. `callback` is None or a callable (phase, done, total) whose False, or
// what is false but None, stops the call and whose exceptions pass to the caller.
class Call {
   public:
    explicit Call(nb::handle callback = nb::none());
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    // For the engine's options; refers to this object.
    Progress progress() {
        return [this](std::string_view phase, double done, double total) {
            return step(phase, done, total);
        };
    }
    // Runs `body` without the GIL.
    template <class Body>
    auto run(Body&& body) {
        try {
            nb::gil_scoped_release release;
            return std::forward<Body>(body)();
        } catch (const Error&) {
            if (raised_) std::rethrow_exception(raised_);
            throw;
        }
    }

   private:
    bool step(std::string_view phase, double done, double total);
    nb::object callback_;
    std::exception_ptr raised_;  // what the callback or a signal handler raised
    std::chrono::steady_clock::time_point last_look_;
};

// Guards an object with a lock, an index for example, against its own progress callback, which
// would wait for itself: it may not be used by the thread that is inside one of its calls.
class Inside {
   public:
    Inside(const void* object, const char* operation);
    ~Inside() { top = outer_; }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

   private:
    static thread_local const Inside* top;
    const void* object_;
    const Inside* outer_;
};

}  // namespace nearcell::python
