#include <nearcell/storage/vector_file.h>

#include <algorithm>
#include <limits>

#include <nearcell/storage/row_file.h>

namespace nearcell {
namespace {

struct FormatName {
    VectorFormat format;
    std::string_view name;  // also the suffix, after a dot
};
constexpr FormatName kFormats[] = {
    {VectorFormat::Fvecs, "fvecs"}, {VectorFormat::Bvecs, "bvecs"}, {VectorFormat::Ivecs, "ivecs"},
    {VectorFormat::Fbin, "fbin"},   {VectorFormat::U8bin, "u8bin"}, {VectorFormat::I8bin, "i8bin"},
    {VectorFormat::Ibin, "ibin"},   {VectorFormat::Npy, "npy"},     {VectorFormat::Raw, "raw"},
    {VectorFormat::Hdf5, "hdf5"},   {VectorFormat::Hdf5, "h5"},
};

// The data sets of the ann-benchmarks layout that are meant where none is named.
constexpr std::string_view kVectorSet = "train", kIdSet = "neighbors";

VectorFormat chosen_format(const std::string& path, const VectorFileOptions& options) {
    return options.format ? *options.format : format_from_path(path);
}

RowFile parse(const InputFile& file, VectorFormat format, const VectorFileOptions& options) {
    switch (format) {
        case VectorFormat::Fvecs:
        case VectorFormat::Bvecs:
        case VectorFormat::Ivecs: return parse_vecs(file, format);
        case VectorFormat::Npy: return parse_npy(file);
        case VectorFormat::Raw: return parse_raw(file, options);
        default: return parse_bin(file, format);
    }
}

void check_shape(const std::string& path, const void* data, size_t rows, size_t cols) {
    check(cols > 0, StatusCode::InvalidArgument, path, ": cannot write rows of 0 columns");
    check(data != nullptr || rows == 0, StatusCode::InvalidArgument, path, ": cannot write ", rows,
          " rows from a null pointer");
}

}  // namespace

FileElement id_element(VectorFormat format, const std::string& path) {
    switch (format) {
        case VectorFormat::Hdf5:
        case VectorFormat::Npy: return FileElement::Int64;
        case VectorFormat::Ivecs:
        case VectorFormat::Ibin: return FileElement::Int32;
        default:
            throw_error(StatusCode::InvalidArgument, path, ": ", format_name(format),
                        " cannot hold ids; write ibin, ivecs, npy or hdf5");
    }
}

std::vector<int32_t> narrow_ids(const std::string& path, VectorFormat format, const int64_t* ids,
                                size_t rows, size_t cols, uint64_t first_row) {
    std::vector<int32_t> narrow(rows * cols);
    for (size_t i = 0; i < narrow.size(); ++i) {
        check(ids[i] >= std::numeric_limits<int32_t>::min() &&
                  ids[i] <= std::numeric_limits<int32_t>::max(),
              StatusCode::InvalidArgument, path, ": id ", ids[i], " at row ", first_row + i / cols,
              ", column ", i % cols, " does not fit the int32 of ", format_name(format),
              "; write npy, which holds int64");
        narrow[i] = static_cast<int32_t>(ids[i]);
    }
    return narrow;
}

RowHeader row_header(VectorFormat format, FileElement element, uint64_t rows, uint64_t cols) {
    switch (format) {
        case VectorFormat::Fvecs:
        case VectorFormat::Bvecs:
        case VectorFormat::Ivecs: return vecs_header(format, element, rows, cols);
        case VectorFormat::Npy: return npy_header(element, rows, cols);
        case VectorFormat::Raw: return {};
        default: return bin_header(format, element, rows, cols);
    }
}

std::string_view format_name(VectorFormat format) {
    for (const FormatName& known : kFormats) {
        if (known.format == format) return known.name;
    }
    return "?";
}

std::optional<VectorFormat> format_from_name(std::string_view name) {
    for (const FormatName& known : kFormats) {
        if (known.name == name) return known.format;
    }
    return std::nullopt;
}

VectorFormat format_from_path(const std::string& path) {
    for (const std::string_view suffix : {".hdf5:", ".h5:"}) {
        if (path.find(suffix) != std::string::npos) return VectorFormat::Hdf5;
    }
    const size_t dot = path.find_last_of("./");
    if (dot != std::string::npos && path[dot] == '.') {
        const auto format = format_from_name(std::string_view(path).substr(dot + 1));
        if (format) return *format;
    }
    std::string known;
    for (const FormatName& format : kFormats)
        known += " ." + std::string(format.name);
    throw_error(StatusCode::InvalidArgument, path, ": its suffix is none of", known,
                "; rename it or name its format");
}

VectorFileInfo vector_file_info(const std::string& path, const VectorFileOptions& options) {
    const VectorFormat format = chosen_format(path, options);
    const RowFile rows = format == VectorFormat::Hdf5 ? hdf5_info(path, kVectorSet)
                                                      : parse(InputFile(path), format, options);
    return {format, std::string(file_element_name(rows.element)), rows.rows, rows.cols};
}

VectorData read_vectors(const std::string& path, const VectorFileOptions& options) {
    const VectorFormat format = chosen_format(path, options);
    if (format == VectorFormat::Hdf5) return hdf5_read_vectors(path, kVectorSet, options);
    const InputFile file(path);
    const RowFile rows = parse(file, format, options);
    return read_row_vectors(file, rows, choose_rows(rows.rows, options, path), options.exact_whole);
}

IdData read_ids(const std::string& path, const VectorFileOptions& options) {
    const VectorFormat format = chosen_format(path, options);
    if (format == VectorFormat::Hdf5) return hdf5_read_ids(path, kIdSet, options);
    const InputFile file(path);
    const RowFile rows = parse(file, format, options);
    return read_row_ids(file, rows, choose_rows(rows.rows, options, path));
}

void write_vectors(const std::string& path, const Vectors& vectors,
                   const VectorFileOptions& options) {
    const VectorFormat format = chosen_format(path, options);
    check_shape(path, vectors.data, vectors.rows, vectors.cols);
    const FileElement element = file_element(vectors.type);
    if (format == VectorFormat::Hdf5) {
        hdf5_write(path, kVectorSet, element, vectors.data, vectors.rows, vectors.cols,
                   vectors.stride, options.together);
        return;
    }
    const RowHeader header = row_header(format, element, vectors.rows, vectors.cols);
    const size_t size = element_size(vectors.type);
    write_rows(path, header, vectors.data, vectors.rows, vectors.cols * size,
               vectors.stride * size);
}

void write_ids(const std::string& path, const int64_t* ids, size_t rows, size_t cols,
               const VectorFileOptions& options) {
    const VectorFormat format = chosen_format(path, options);
    check_shape(path, ids, rows, cols);
    const FileElement element = id_element(format, path);
    if (format == VectorFormat::Hdf5) {
        hdf5_write(path, kIdSet, element, ids, rows, cols, cols, options.together);
        return;
    }
    const RowHeader header = row_header(format, element, rows, cols);
    const uint64_t row_bytes = cols * file_element_size(element);
    if (element == FileElement::Int64) {
        write_rows(path, header, ids, rows, row_bytes, row_bytes);
        return;
    }
    const std::vector<int32_t> narrow = narrow_ids(path, format, ids, rows, cols, 0);
    write_rows(path, header, narrow.data(), rows, row_bytes, row_bytes);
}

void check_writes_vectors(const std::string& path, ElementType type,
                          const VectorFileOptions& options) {
    const VectorFormat format = chosen_format(path, options);
    if (format == VectorFormat::Hdf5)
        return hdf5_check_write(path, kVectorSet, file_element(type), options.together);
    row_header(format, file_element(type), 1, 1);
}

void check_writes_ids(const std::string& path, const VectorFileOptions& options) {
    const VectorFormat format = chosen_format(path, options);
    const FileElement element = id_element(format, path);
    if (format == VectorFormat::Hdf5) hdf5_check_write(path, kIdSet, element, options.together);
}

}  // namespace nearcell
