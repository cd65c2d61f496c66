// Progress: a callback of the caller, told how far a long operation is. Returning false cancels the
// operation, which then throws Error(Cancelled) and leaves its object unchanged. Called from the
// calling thread only, a few times a second at most by cheap operations, once a step by long ones.
#pragma once

#include <functional>
#include <string_view>

#include <nearcell/core/error.h>

namespace nearcell {

using Progress = std::function<bool(std::string_view phase, double done, double total)>;

inline void report(const Progress& progress, std::string_view phase, double done, double total) {
    if (progress && !progress(phase, done, total)) {
        throw_error(StatusCode::Cancelled, phase, " was cancelled by its progress callback");
    }
}

}  // namespace nearcell
