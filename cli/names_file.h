// Files of names: which picture each row of a file is of: one path a line, in the order of the
// rows, byte for byte as the system has it. "feats.npy" has its names in "feats.npy.names.txt":
// "feats.fbin" may be of other pictures.
#pragma once

#include <optional>
#include <span>
#include <string>

#include <nearcell/storage/atomic_file.h>

namespace nearcell::cli {

std::string names_path(const std::string& path);

// Throws InvalidArgument naming a path that one line cannot hold, before the work begins.
void check_names(std::span<const std::string> pictures);
// The paths of some pictures, by their numbers. The file is the caller's to commit, after the one
// that it belongs to: then a disk that is full leaves no names without rows.
void append_names(AtomicFile& file, std::span<const std::string> pictures,
                  std::span<const size_t> numbers);
// How many names the file at `path` has beside it; none where there is no file of names. Throws Io.
std::optional<size_t> count_names(const std::string& path);

}  // namespace nearcell::cli
