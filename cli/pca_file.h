// PcaFile: a fitted PCA as a container of kind "pca", with the sections matrix, mean, variances
// (float32), numbers (float64: total variance, whitening floor) and whiten (uint8).
#pragma once

#include <string>

#include <nearcell/pca/pca.h>
#include <nearcell/storage/atomic_file.h>

namespace nearcell::cli {

void save_pca(const Pca& pca, const std::string& path);
// The same, but the file is the caller's to commit.
void append_pca(AtomicFile& file, const Pca& pca);
// Whether a file is there that says so.
bool is_pca(const std::string& path);
// Throws as Container::open does, and InvalidArgument when the file holds something else.
Pca load_pca(const std::string& path);

}  // namespace nearcell::cli
