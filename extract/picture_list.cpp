#include <nearcell/extract/picture_list.h>

#include <fnmatch.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <span>
#include <system_error>

#include <nearcell/core/error.h>
#include <nearcell/storage/input_file.h>

namespace nearcell {
namespace {

namespace fs = std::filesystem;
constexpr uint64_t kMaxListBytes = uint64_t{256} << 20;
constexpr size_t kMaxPathBytes = 4096;
constexpr const char* kSuffixes = ".jpg, .jpeg, .png or .bmp";

// Calls visit(entry) for every entry of a folder whose name does not begin with a dot.
template <class Visit>
void for_entries(const fs::path& folder, Visit&& visit) {
    std::error_code error;
    fs::directory_iterator entry(folder.empty() ? fs::path(".") : folder, error), end;
    while (!error && entry != end) {
        if (entry->path().filename().native().front() != '.') visit(*entry);
        entry.increment(error);
    }
    if (error) {
        throw_file_error(StatusCode::Io, folder.string(), error.value(),
                         "cannot read this folder: ", error.message());
    }
}

bool is_folder(const fs::directory_entry& entry, bool through_links) {
    std::error_code ignored;  // what cannot be looked at is no folder; reading it says why
    if (!through_links && entry.is_symlink(ignored)) return false;
    return entry.is_directory(ignored);
}

struct Found {
    std::vector<std::string> pictures;
    size_t others = 0;  // files, by their suffixes no pictures
};

void add_picture(const fs::directory_entry& entry, const fs::path& path, Found& out) {
    if (is_folder(entry, true)) return;
    if (is_picture_name(path.native())) {
        out.pictures.push_back(path.string());
    } else {
        ++out.others;
    }
}

void walk(const fs::path& top, Found& out) {
    std::vector<fs::path> folders{top};
    while (!folders.empty()) {
        const fs::path folder = std::move(folders.back());
        folders.pop_back();
        for_entries(folder, [&](const fs::directory_entry& entry) {
            if (is_folder(entry, false)) {
                folders.push_back(entry.path());
            } else {
                add_picture(entry, entry.path(), out);
            }
        });
    }
}

bool is_pattern(std::string_view text) { return text.find_first_of("*?[") != text.npos; }

// All that the remaining parts of a pattern match below `folder`. As deep as parts and folders are.
void expand(const fs::path& folder, std::span<const std::string> parts, Found& out) {
    const std::string& part = parts.front();
    const bool last = parts.size() == 1;
    std::error_code ignored;
    if (!is_pattern(part)) {
        const fs::path next = folder / part;
        if (!last && fs::is_directory(next, ignored)) expand(next, parts.subspan(1), out);
        if (last && fs::symlink_status(next, ignored).type() != fs::file_type::not_found) {
            add_picture(fs::directory_entry(next, ignored), next, out);
        }
        return;
    }
    if (part == "**" && !last) expand(folder, parts.subspan(1), out);
    for_entries(folder, [&](const fs::directory_entry& entry) {
        const fs::path name = entry.path().filename();
        const fs::path next = folder / name;
        if (part == "**") {
            if (is_folder(entry, false)) {
                expand(next, parts, out);
            } else if (last) {
                add_picture(entry, next, out);
            }
        } else if (fnmatch(part.c_str(), name.c_str(), FNM_PERIOD) == 0) {
            if (last) {
                add_picture(entry, next, out);
            } else if (is_folder(entry, true)) {
                expand(next, parts.subspan(1), out);
            }
        }
    });
}

void expand_pattern(const std::string& pattern, Found& out) {
    check(pattern.size() <= kMaxPathBytes, StatusCode::InvalidArgument, "pattern of ",
          pattern.size(), " characters, at most ", kMaxPathBytes);
    std::vector<std::string> parts;
    for (const fs::path& part : fs::path(pattern).relative_path()) {
        const std::string& text = part.native();
        // ** twice in a row is the same as once.
        if (!text.empty() && !(text == "**" && !parts.empty() && parts.back() == text)) {
            parts.push_back(text);
        }
    }
    check(std::count(parts.begin(), parts.end(), "**") <= 1, StatusCode::InvalidArgument,
          "pattern ", pattern, ": may have ** once; name the folder");
    expand(fs::path(pattern).root_path(), parts, out);
}

void read_list(const std::string& path, std::vector<std::string>& out) {
    const InputFile file(path);
    check(file.bytes() <= kMaxListBytes, StatusCode::InvalidArgument, path, ": has ", file.bytes(),
          " bytes; a list of pictures has at most ", kMaxListBytes, "; split it");
    std::string text(file.bytes(), '\0');
    if (!text.empty()) file.read_at(0, text.data(), text.size(), "the list");
    const fs::path folder = fs::path(path).parent_path();
    size_t number = 0;
    const size_t mark = text.starts_with("\xEF\xBB\xBF") ? 3 : 0;  // of UTF-8
    for (size_t at = mark; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        std::string_view line(text.data() + at, end - at);
        at = end + 1;
        ++number;
        if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
        if (line.empty()) continue;
        check(line.size() <= kMaxPathBytes && line.find('\0') == line.npos, StatusCode::Corrupt,
              path, ": line ", number, " is no path; without one of the suffixes of pictures (",
              kSuffixes, ") it is read as a list of pictures, which is text, one path a line");
        check(is_picture_name(line), StatusCode::Corrupt, path, ": line ", number,
              " names no picture (", kSuffixes, "); a list of pictures is text, one path a line");
        out.push_back((folder / line).string());
    }
}

}  // namespace

bool is_picture_name(std::string_view path) {
    const size_t dot = path.rfind('.');
    if (dot == path.npos) return false;
    std::string suffix(path.substr(dot + 1));
    for (char& c : suffix)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return suffix == "jpg" || suffix == "jpeg" || suffix == "png" || suffix == "bmp";
}

std::vector<std::string> list_pictures(const std::string& source, size_t* others) {
    check(
        !source.empty() && source.find('\0') == source.npos, StatusCode::InvalidArgument,
        "pictures: the path is empty or has a zero byte; name a folder, a pattern, a list file or "
        "a picture");
    Found found;
    std::vector<std::string>& pictures = found.pictures;
    std::error_code error;
    const fs::file_status status = fs::status(source, error);
    if (fs::is_directory(status)) {
        walk(source, found);
        std::sort(pictures.begin(), pictures.end());
    } else if (fs::exists(status)) {
        if (is_picture_name(source)) {
            pictures.push_back(source);
        } else {
            read_list(source, pictures);
        }
    } else if (!is_pattern(source)) {
        if (status.type() != fs::file_type::not_found) {
            throw_file_error(StatusCode::Io, source, error.value(),
                             "cannot be looked at: ", error.message());
        }
        throw_file_error(
            StatusCode::NotFound, source, ENOENT,
            "no such folder or file; name a folder, a pattern, a list file or a picture");
    } else {
        expand_pattern(source, found);
        std::sort(pictures.begin(), pictures.end());
        pictures.erase(std::unique(pictures.begin(), pictures.end()), pictures.end());
    }
    check(!pictures.empty(), StatusCode::NotFound, source, ": no picture (", kSuffixes,
          ") there; check the path and the suffixes");
    if (others != nullptr) *others = found.others;
    return std::move(found.pictures);
}

}  // namespace nearcell
