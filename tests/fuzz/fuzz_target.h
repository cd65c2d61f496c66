// What a fuzz target is made of. NAME_fuzz.cpp defines LLVMFuzzerTestOneInput, which hands bytes to
// one reader, and the functions below; the program is driven by fuzz_main.cpp, or by libFuzzer
// where clang builds it. A reader's answer to any bytes is a value or an Error: whatever else
// happens (a sanitizer's report, another exception, a leak, too much memory or time) is a failure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <nearcell/core/error.h>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace nearcell::fuzz {

using Bytes = std::vector<uint8_t>;

// Inputs that the reader accepts, or refuses for a reason worth starting from.
std::vector<Bytes> seeds();
// Makes lengths and checksums fit what a mutation left, so that the damage gets past them.
void repair(Bytes& bytes);

// How the last read() ended: "value", or the kind and the words of its error.
inline std::string outcome;

// Numbers are what differs between two refusals of one kind; what is quoted comes from the input.
inline std::string without_details(std::string_view message) {
    const size_t first = message.find_first_of("'\""), last = message.find_last_of("'\"");
    std::string words;
    for (size_t i = 0; i < message.size() && words.size() < 200; ++i) {
        const bool quoted = i > first && i < last;
        if (!quoted && (message[i] < '0' || message[i] > '9')) words += message[i];
    }
    return words;
}

// Whether a message is one line of a sensible length that a terminal can show.
inline bool is_message(std::string_view text) {
    constexpr size_t kLeast = 10, kMost = 2000;
    for (const char c : text)
        if (static_cast<unsigned char>(c) < ' ' || c == 127) return false;
    return text.size() >= kLeast && text.size() <= kMost;
}

// For what must hold of what a reader returned.
inline void require(bool holds) {
    if (!holds) std::abort();
}

// Calls a reader; its Errors are what fuzzing expects, and must say something.
template <class Call>
bool read(Call&& call) {
    try {
        call();
        outcome = "value";
        return true;
    } catch (const Error& error) {
        require(is_message(error.status().message));
        outcome = std::string(status_name(error.code())) + ": " + without_details(error.what());
        return false;
    }
}

}  // namespace nearcell::fuzz
