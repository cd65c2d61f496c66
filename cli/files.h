// Files: what the sub-commands agree on about the files they are given: which data set of an HDF5
// file is meant, what shape a truth file must have, and that an output can be written, found out
// before the work and not after it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nearcell/core/metric.h>
#include <nearcell/storage/vector_file.h>

namespace CLI {
class App;
}

namespace nearcell::cli {

// "base.hdf5" becomes "base.hdf5:DATA_SET"; every other path stays as it is.
std::string with_data_set(const std::string& path, std::string_view data_set);
// True when the suffix is that of a vector format; else the file should be one of ours.
bool is_vector_path(const std::string& path);

struct DataSet {
    std::string path;  // "base.hdf5:test", or the path itself where a file holds only one
    VectorFileInfo info;
};
// All that a vector file holds: those of the ann-benchmarks layout for an HDF5 file whose data set
// is not named, else one. Never empty.
std::vector<DataSet> data_sets(const std::string& path);

// Throws what read_vectors does, and, naming the file, where a value is not finite or too large.
VectorData read_finite(const std::string& path, int threads);
// Queries: the same, the data set "test" of an HDF5 file.
VectorData read_queries(const std::string& path, int threads);
// True neighbours: the data set "neighbors" of an HDF5 file. Throws InvalidArgument unless there
// are `queries` rows of at least `k` ids.
IdData read_truth(const std::string& path, size_t queries, size_t k);

// Throw, before the work, what writing such values there would throw after it.
void check_vector_output(const std::string& path, ElementType type,
                         const VectorFileOptions& options = {});
void check_id_output(const std::string& path, const VectorFileOptions& options = {});
// Throws Io unless a file can be made there.
void check_output(const std::string& path);
// Throws InvalidArgument when two outputs, or an output and an input, lead to one file, or to one
// data set of it, and one would overwrite the other. Empty paths are not there.
void check_different(const std::vector<std::string>& outputs,
                     const std::vector<std::string>& inputs);
// The file of "file.hdf5:data_set".
std::string output_file(const std::string& path);
uint64_t file_bytes(const std::string& path);
// The whole file at once: it appears complete or not at all.
void save_text(const std::string& path, std::string_view text);

// Declares --metric on a command; metric_from_option() reads what it left.
void add_metric_option(CLI::App& command, std::string& name);
Metric metric_from_option(const std::string& name);

}  // namespace nearcell::cli
