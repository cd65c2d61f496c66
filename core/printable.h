// Text from a file, fit for a message: at most 60 characters, none that a terminal would obey or
// that ends a C string. Cost: one pass. Pure; thread safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace nearcell {

inline std::string printable(std::string_view text) {
    constexpr size_t kMost = 60;
    std::string shown;
    for (const char c : text.substr(0, kMost))
        shown += c >= ' ' && c <= '~' ? c : '?';
    return text.size() > kMost ? shown + "..." : shown;
}

}  // namespace nearcell
