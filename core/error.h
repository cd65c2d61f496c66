// Status and Error: every failure the library reports. A Status is a code of a closed list, in one
// of three categories, with a message that names the argument, the value, the limit and the remedy.
// Error is the exception that carries one. Library code throws Error (or std::bad_alloc) and leaves
// the object it was called on unchanged; kernels never throw; nothing aborts.
#pragma once

#include <exception>
#include <locale>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

namespace nearcell {

enum class StatusCode {
    InvalidArgument,  // a value, shape or option is out of its documented range
    NonFinite,        // NaN or infinity in rows or queries
    NotTrained,       // the call needs a trained index
    NotFound,         // an id or a file does not exist
    AlreadyExists,    // an id is already stored
    Unsupported,      // this combination of index, metric, operation and device is not available
    NoDevice,         // the device asked for is not there
    Corrupt,          // a file's bytes are not what was saved
    TooNew,           // a file of a later format version
    Io,               // the operating system refused to read or write
    OutOfMemory,      // an allocation failed
    Cancelled,        // a progress callback asked to stop
};

enum class StatusCategory { Input, Data, System };

constexpr StatusCategory category(StatusCode code) {
    switch (code) {
        case StatusCode::InvalidArgument:
        case StatusCode::NonFinite:
        case StatusCode::NotTrained:
        case StatusCode::NotFound:
        case StatusCode::AlreadyExists:
        case StatusCode::Unsupported:
        case StatusCode::NoDevice: return StatusCategory::Input;
        case StatusCode::Corrupt:
        case StatusCode::TooNew: return StatusCategory::Data;
        case StatusCode::Io:
        case StatusCode::OutOfMemory:
        case StatusCode::Cancelled: return StatusCategory::System;
    }
    return StatusCategory::System;
}

constexpr std::string_view status_name(StatusCode code) {
    switch (code) {
        case StatusCode::InvalidArgument: return "InvalidArgument";
        case StatusCode::NonFinite: return "NonFinite";
        case StatusCode::NotTrained: return "NotTrained";
        case StatusCode::NotFound: return "NotFound";
        case StatusCode::AlreadyExists: return "AlreadyExists";
        case StatusCode::Unsupported: return "Unsupported";
        case StatusCode::NoDevice: return "NoDevice";
        case StatusCode::Corrupt: return "Corrupt";
        case StatusCode::TooNew: return "TooNew";
        case StatusCode::Io: return "Io";
        case StatusCode::OutOfMemory: return "OutOfMemory";
        case StatusCode::Cancelled: return "Cancelled";
    }
    return "?";
}

struct Status {
    StatusCode code;
    std::string message;
    // Where the system refused a file: its errno, and the path that the message begins with.
    int system_error = 0;
    std::string file = {};
};

class Error : public std::exception {
   public:
    explicit Error(Status status) : status_(std::move(status)) {}
    Error(StatusCode code, std::string message) : status_{code, std::move(message)} {}

    const Status& status() const { return status_; }
    StatusCode code() const { return status_.code; }
    const char* what() const noexcept override { return status_.message.c_str(); }

   private:
    Status status_;
};

// Parts one after the other, numbers as in C whatever locale the program has set.
template <class... Parts>
std::string joined_text(const Parts&... parts) {
    std::ostringstream text;
    text.imbue(std::locale::classic());
    (text << ... << parts);
    return text.str();
}

// throw_error(StatusCode::InvalidArgument, "k = ", k, " must be at least 1");
template <class... Parts>
[[noreturn]] void throw_error(StatusCode code, const Parts&... parts) {
    throw Error(code, joined_text(parts...));
}

// check(k >= 1, StatusCode::InvalidArgument, "k = ", k, " must be at least 1");
template <class... Parts>
void check(bool holds, StatusCode code, const Parts&... parts) {
    if (!holds) throw_error(code, parts...);
}

// throw_file_error(StatusCode::Io, path, errno, "cannot read: ", std::strerror(errno));
template <class... Parts>
[[noreturn]] void throw_file_error(StatusCode code, const std::string& file, int system_error,
                                   const Parts&... parts) {
    throw Error(Status{code, joined_text(file, ": ", parts...), system_error, file});
}

}  // namespace nearcell
