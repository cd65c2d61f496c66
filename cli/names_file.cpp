#include "names_file.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>

#include <nearcell/core/error.h>

namespace nearcell::cli {

std::string names_path(const std::string& path) { return path + ".names.txt"; }

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

std::optional<size_t> count_names(const std::string& path) {
    const std::string names = names_path(path);
    std::error_code ignored;  // such as a name that is too long
    if (!std::filesystem::exists(names, ignored)) return std::nullopt;
    std::ifstream file(names, std::ios::binary);
    size_t count = 0;
    for (std::string name; std::getline(file, name);)
        ++count;
    check(file.eof() && !file.bad(), StatusCode::Io, "cannot read ", names);
    return count;
}

}  // namespace nearcell::cli
