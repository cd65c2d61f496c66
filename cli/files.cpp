#include "files.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include <nearcell/core/error.h>
#include <nearcell/storage/atomic_file.h>

namespace nearcell::cli {
namespace {

bool ends_with_hdf5(std::string_view path) {
    return path.ends_with(".hdf5") || path.ends_with(".h5");
}

}  // namespace

std::string with_data_set(const std::string& path, std::string_view data_set) {
    return ends_with_hdf5(path) ? path + ":" + std::string(data_set) : path;
}

bool is_vector_path(const std::string& path) {
    try {
        format_from_path(path);
        return true;
    } catch (const Error&) {
        return false;
    }
}

void check_different(const std::vector<std::string>& outputs,
                     const std::vector<std::string>& inputs) {
    std::vector<std::pair<std::filesystem::path, std::string>> seen;
    const auto look_up = [&](const std::string& path) {
        const std::string file = output_file(path);
        std::error_code error;
        auto place = std::filesystem::weakly_canonical(file, error);
        if (error) place = file;  // reading or writing it will say why
        const auto set_of = [](const std::string& whole) {
            const std::string set = whole.substr(output_file(whole).size());
            return set.substr(std::min(set.find_first_not_of(":/"), set.size()));
        };
        const std::string set = set_of(path);
        for (const auto& [at, name] : seen) {  // hard links have other places
            if (at != place && !std::filesystem::equivalent(at, place, error)) continue;
            const std::string other = set_of(name);
            check(!set.empty() && !other.empty() && set != other, StatusCode::InvalidArgument, path,
                  " and ", name, " are one file, for two things: name another output");
        }
        return place;
    };
    for (const std::string& path : outputs)
        if (!path.empty()) seen.emplace_back(look_up(path), path);
    for (const std::string& path : inputs)
        if (!path.empty()) look_up(path);
}

std::string output_file(const std::string& path) {
    const size_t colon = path.rfind(':');
    if (colon == std::string::npos || !ends_with_hdf5(std::string_view(path).substr(0, colon))) {
        return path;
    }
    return path.substr(0, colon);
}

std::vector<DataSet> data_sets(const std::string& path) {
    if (with_data_set(path, "") == path) return {{path, vector_file_info(path)}};
    std::vector<DataSet> sets;
    for (const char* name : {"train", "test", "neighbors", "distances"}) {
        const std::string one = with_data_set(path, name);
        try {
            sets.push_back({one, vector_file_info(one)});
        } catch (const Error& error) {
            if (error.code() != StatusCode::NotFound) throw;
        }
    }
    if (sets.empty()) vector_file_info(path);  // throws: says what is missing
    return sets;
}

VectorData read_finite(const std::string& path, int threads) {
    VectorData rows = read_vectors(path);
    check_finite(rows.view(), path, threads);
    return rows;
}

VectorData read_queries(const std::string& path, int threads) {
    return read_finite(with_data_set(path, "test"), threads);
}

IdData read_truth(const std::string& path, size_t queries, size_t k) {
    IdData truth = read_ids(with_data_set(path, "neighbors"));
    check(truth.rows == queries, StatusCode::InvalidArgument, "truth ", path, " has ", truth.rows,
          " rows, but there are ", queries, " queries; make it with `nearcell truth`");
    check(k >= 1, StatusCode::InvalidArgument, "-n ", k, " must be at least 1");
    check(truth.cols >= k, StatusCode::InvalidArgument, "truth ", path, " has ", truth.cols,
          " neighbours a query, but -n ", k, " asks for more; give a smaller -n, or a truth of ", k,
          " neighbours");
    return truth;
}

void check_vector_output(const std::string& path, ElementType type,
                         const VectorFileOptions& options) {
    check_writes_vectors(path, type, options);
    check_output(output_file(path));
}

void check_id_output(const std::string& path, const VectorFileOptions& options) {
    check_writes_ids(path, options);
    check_output(output_file(path));
}

void check_output(const std::string& path) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    check(!path.empty(), StatusCode::InvalidArgument, "the output path is empty");
    const fs::file_type type = fs::symlink_status(path, ignored).type();
    check(type == fs::file_type::not_found || type == fs::file_type::regular, StatusCode::Io,
          "cannot write ", path, ": it is not a regular file; name another one");
    fs::path directory = fs::path(path).parent_path();
    if (directory.empty()) directory = ".";
    check(fs::is_directory(directory, ignored), StatusCode::Io, "cannot write ", path,
          ": there is no directory ", directory.string(), "; make it first");
    const int refused = access(directory.c_str(), W_OK) == 0 ? 0 : errno;
    check(refused == 0, StatusCode::Io, "cannot write ", path, ": ", directory.string(), ": ",
          std::strerror(refused));
}

uint64_t file_bytes(const std::string& path) {
    std::error_code error;
    const uint64_t bytes = std::filesystem::file_size(output_file(path), error);
    return error ? 0 : bytes;
}

void save_text(const std::string& path, std::string_view text) {
    AtomicFile file(path);
    file.append(text.data(), text.size());
    file.commit();
}

void add_metric_option(CLI::App& command, std::string& name) {
    command.add_option("--metric", name, "what near means: l2 (squared), ip, cosine or l1")
        ->check(CLI::IsMember({"l2", "ip", "cosine", "l1"}))
        ->capture_default_str();
}

Metric metric_from_option(const std::string& name) {
    const auto metric = metric_from_name(name);
    check(metric.has_value(), StatusCode::InvalidArgument, "metric ", name,
          " is none of l2, ip, cosine, l1");
    return *metric;
}

}  // namespace nearcell::cli
