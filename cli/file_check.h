// FileCheck: whether a file is whole: checksums and structure of what nearcell saves, header,
// length and values of vector files. Shared by `verify` and `info`.
#pragma once

#include <string>

#include <nearcell/core/progress.h>
#include <nearcell/storage/container.h>

namespace nearcell::cli {

// Reads everything, of vectors also the names beside them, which must be as many; throws Corrupt
// (or NotFound, Io, TooNew, NonFinite) saying what is wrong where. Returns what was found, in
// words: "index IVF64,PQ8, 10,000 vectors".
std::string check_file(const std::string& path, const Progress& progress);

}  // namespace nearcell::cli
