#include "names_file.h"

#include <algorithm>

#include <nearcell/core/error.h>

namespace nearcell::cli {

std::string beside(const std::string& path, std::string_view suffix) {
    const size_t dot = path.find_last_of("./");
    const bool has_suffix = dot != std::string::npos && path[dot] == '.';
    return path.substr(0, has_suffix ? dot : path.size()) + std::string(suffix);
}

void check_names(std::span<const std::string> pictures) {
    for (const std::string& path : pictures) {
        if (path.find_first_of("\n\r") == std::string::npos) continue;
        std::string shown = path;
        std::replace(shown.begin(), shown.end(), '\n', '?');
        std::replace(shown.begin(), shown.end(), '\r', '?');
        throw_error(StatusCode::InvalidArgument, "picture ", shown,
                    " has a line break in its path (shown as ?), which a file of one path a line "
                    "cannot hold; rename it");
    }
}

void append_names(AtomicFile& file, std::span<const std::string> pictures,
                  std::span<const size_t> numbers) {
    std::string text;
    for (const size_t number : numbers) {
        text += pictures[number];
        text += '\n';
    }
    file.append(text.data(), text.size());
}

}  // namespace nearcell::cli
