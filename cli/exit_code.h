// Exit codes of the command: the one place where the library's status codes become numbers that a
// script can test. docs/cli.md lists them.
#pragma once

#include <nearcell/core/error.h>

namespace nearcell::cli {

enum ExitCode : int {
    kOk = 0,
    kBug = 1,          // an exception that nobody expected
    kUsage = 2,        // the command line does not parse
    kBadInput = 3,     // a value, a shape or the data is not acceptable
    kNotFound = 4,     // a file or an id does not exist
    kCorrupt = 5,      // a file is damaged, or of a later format version
    kIo = 6,           // the system refused to read, to write or to give memory
    kNoDevice = 7,     // the device asked for is not there
    kUnsupported = 8,  // this combination is not available
    kCancelled = 9     // stopped by Ctrl-C
};

constexpr ExitCode exit_code(StatusCode code) {
    switch (code) {
        case StatusCode::InvalidArgument:
        case StatusCode::NonFinite:
        case StatusCode::NotTrained:
        case StatusCode::AlreadyExists: return kBadInput;
        case StatusCode::NotFound: return kNotFound;
        case StatusCode::Corrupt:
        case StatusCode::TooNew: return kCorrupt;
        case StatusCode::Io:
        case StatusCode::OutOfMemory: return kIo;
        case StatusCode::NoDevice: return kNoDevice;
        case StatusCode::Unsupported: return kUnsupported;
        case StatusCode::Cancelled: return kCancelled;
    }
    return kBug;
}

}  // namespace nearcell::cli
