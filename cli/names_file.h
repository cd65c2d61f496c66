// Files of names: which picture each row of a file is of: one path a line, in the order of the
// rows, byte for byte as the system has it.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include <nearcell/storage/atomic_file.h>

namespace nearcell::cli {

// "feats.npy" becomes "feats.names.txt": the same with another suffix.
std::string beside(const std::string& path, std::string_view suffix);

// Throws InvalidArgument naming a path that one line cannot hold, before the work begins.
void check_names(std::span<const std::string> pictures);
// The paths of some pictures, by their numbers. The file is the caller's to commit, after the one
// that it belongs to: then a disk that is full leaves no names without rows.
void append_names(AtomicFile& file, std::span<const std::string> pictures,
                  std::span<const size_t> numbers);

}  // namespace nearcell::cli
