// The pictures that a user means by one word: a folder (with all below it), a pattern with * ? [ ]
// and ** (any number of folders), a list file (one path a line), or one picture. Names that begin
// with a dot are passed over, as in a shell. Folders that are symbolic links are not gone into
// below the folder that was named, so a loop cannot trap the walk; a link to a picture is a
// picture. Cost: one reading of each folder; memory: the list. Thread safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace nearcell {

// By suffix: .jpg, .jpeg, .png or .bmp, in small or capital letters.
bool is_picture_name(std::string_view path);

// A folder's and a pattern's pictures come sorted bytewise, each once: the same list on every
// machine. A list file's come in its order, so that picture i is line i; relative paths are
// relative to the list file's folder, and empty lines are passed over. Only names are looked at: a
// broken picture is in the list, and reading it says what is wrong.
//
// Throws NotFound (no such folder or file; no picture there), InvalidArgument (a file that is no
// picture and no list; a pattern that cannot be), Corrupt (a list file that is not text, or a line
// of it that names no picture), Io (a folder that cannot be read).
// `others`, where given, is told how many files a folder or a pattern has besides: of other
// suffixes.
std::vector<std::string> list_pictures(const std::string& source, size_t* others = nullptr);

}  // namespace nearcell
