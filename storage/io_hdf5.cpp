// HDF5, reading: one data set of rows x columns, as in the ann-benchmarks layout. Data sets kept in
// other files (external storage, external links, virtual data sets) are refused: opening a file
// must not read another one.
#include <algorithm>
#include <array>

#include <nearcell/core/printable.h>
#include <nearcell/storage/checked_size.h>
#include <nearcell/storage/hdf5_session.h>
#include <nearcell/storage/row_file.h>

namespace nearcell {
namespace {

// Deflate, the strongest of the usual filters, packs at most 1032 to 1.
constexpr uint64_t kMostCompression = 1100;
constexpr uint64_t kMostSpareChunk = uint64_t{64} << 20;
constexpr uint64_t kWideBlockBytes = uint64_t{16} << 20;

std::string set_names(hid_t file) {
    H5G_info_t group{};
    H5Gget_info(file, &group);
    std::string names;
    for (hsize_t i = 0; i < std::min<hsize_t>(group.nlinks, 16); ++i) {
        char name[64] = {};
        if (H5Lget_name_by_idx(file, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name,
                               H5P_DEFAULT) > 0) {
            names += (names.empty() ? "" : ", ") + printable(name);
        }
    }
    return names.empty() ? "nothing" : names;
}

// Every part of the name must be a hard link: others can lead to other files.
void check_links(hid_t file, const Hdf5Path& path) {
    for (size_t end = 0; end != std::string::npos;) {
        end = path.set.find('/', end + 1);
        const std::string part = path.set.substr(0, end);
        check(H5Lexists(file, part.c_str(), H5P_DEFAULT) > 0, StatusCode::NotFound, path.file,
              ": has no data set '", path.set, "'; it holds: ", set_names(file));
        H5L_info_t link{};
        const bool known = H5Lget_info(file, part.c_str(), &link, H5P_DEFAULT) >= 0;
        check(known && link.type == H5L_TYPE_HARD, StatusCode::Unsupported, path.file, ": '", part,
              "' is a link to something else; copy the data set into this file");
    }
}

Hdf5Handle open_file(const std::string& path) {
    return {H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose, StatusCode::Corrupt, path,
            "open it as HDF5"};
}

Hdf5Handle open_set(hid_t file, const Hdf5Path& path) {
    check_links(file, path);
    return {H5Dopen2(file, path.set.c_str(), H5P_DEFAULT), H5Dclose, StatusCode::Corrupt, path.file,
            "open '" + path.set + "' as a data set"};
}

FileElement float_element(hid_t type, const std::string& path) {
    switch (H5Tget_size(type)) {
        case 8: return FileElement::Float64;
        case 4: return FileElement::Float32;
        case 2: {
            const Hdf5Handle half = hdf5_float16(path);
            if (H5Tequal(type, half) > 0) return FileElement::Float16;
            break;
        }
        default: break;
    }
    throw_error(StatusCode::Unsupported, path,
                ": its floating-point type is none of float16 (little endian), float32, float64");
}

FileElement integer_element(hid_t type, const std::string& path) {
    const size_t size = H5Tget_size(type);
    const bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
    if (size == 1) return is_signed ? FileElement::Int8 : FileElement::UInt8;
    if (size == 2 || (size == 4 && is_signed)) return FileElement::Int32;
    if (size == 4 || (size == 8 && is_signed)) return FileElement::Int64;
    throw_error(StatusCode::Unsupported, path, ": its integers are unsigned with ", size,
                " bytes; convert ids to int64");
}

FileElement set_element(hid_t set, const std::string& path) {
    const Hdf5Handle type(H5Dget_type(set), H5Tclose, StatusCode::Corrupt, path,
                          "read the element type");
    const H5T_class_t kind = H5Tget_class(type);
    if (kind == H5T_FLOAT) return float_element(type, path);
    if (kind == H5T_INTEGER) return integer_element(type, path);
    throw_error(StatusCode::Unsupported, path, ": its elements are not numbers");
}

RowFile set_shape(hid_t set, const std::string& path) {
    RowFile rows;
    rows.format = VectorFormat::Hdf5;
    rows.element = set_element(set, path);
    const Hdf5Handle space(H5Dget_space(set), H5Sclose, StatusCode::Corrupt, path,
                           "read the shape");
    const int dimensions = H5Sget_simple_extent_ndims(space);
    check(dimensions == 1 || dimensions == 2, StatusCode::Unsupported, path, ": has ", dimensions,
          " dimensions, and rows x columns are needed");
    std::array<hsize_t, 2> extent{0, 1};
    H5Sget_simple_extent_dims(space, extent.data(), nullptr);
    rows.rows = extent[0];
    rows.cols = extent[1];
    rows.one_dimensional = dimensions == 1;
    return rows;
}

// A packed data set needs the filters it was packed with; h5py's lzf, for one, is h5py's alone.
size_t check_filters(hid_t plist, const std::string& path) {
    const int filters = H5Pget_nfilters(plist);
    for (int i = 0; i < filters; ++i) {
        unsigned flags = 0;
        size_t values = 0;
        const H5Z_filter_t filter = H5Pget_filter2(plist, static_cast<unsigned>(i), &flags, &values,
                                                   nullptr, 0, nullptr, nullptr);
        check(filter > 0 && H5Zfilter_avail(filter) > 0, StatusCode::Unsupported, path,
              ": is packed with filter ", filter,
              ", which this libhdf5 lacks; save it with gzip or unpacked");
    }
    return filters > 0 ? static_cast<size_t>(filters) : 0;
}

// That the file can hold as much as the shape says, before memory is taken for it.
void check_storage(hid_t set, const RowFile& rows, uint64_t file_bytes, const std::string& path) {
    checked_row_bytes(rows, path);
    const Hdf5Handle type(H5Dget_type(set), H5Tclose, StatusCode::Corrupt, path,
                          "read the element type");
    const uint64_t bytes = rows.rows * rows.cols * H5Tget_size(type);  // at most what was checked
    const Hdf5Handle plist(H5Dget_create_plist(set), H5Pclose, StatusCode::Corrupt, path,
                           "read the layout");
    const H5D_layout_t layout = H5Pget_layout(plist);
    check(layout == H5D_CONTIGUOUS || layout == H5D_CHUNKED || layout == H5D_COMPACT,
          StatusCode::Unsupported, path, ": is a virtual data set; copy the data into one file");
    check(layout != H5D_CONTIGUOUS || H5Pget_external_count(plist) == 0, StatusCode::Unsupported,
          path, ": keeps its data in other files; copy the data into one file");
    const uint64_t stored = H5Dget_storage_size(set);
    const bool packed = layout == H5D_CHUNKED && check_filters(plist, path) > 0;
    const uint64_t most = stored <= file_bytes ? stored * (packed ? kMostCompression : 1) : 0;
    check(bytes <= most, StatusCode::Corrupt, path, ": its ", rows.rows, " x ", rows.cols, " ",
          file_element_name(rows.element), " values take ", bytes, " bytes, but ", stored,
          " are stored in a file of ", file_bytes);
    if (layout != H5D_CHUNKED) return;
    std::array<hsize_t, 2> chunk{1, 1};
    H5Pget_chunk(plist, 2, chunk.data());
    const auto chunk_bytes = checked_product(chunk[0], chunk[1], H5Tget_size(type));
    const Hdf5Handle space(H5Dget_space(set), H5Sclose, StatusCode::Corrupt, path,
                           "read the shape");
    std::array<hsize_t, 2> most_extent{0, 1};
    H5Sget_simple_extent_dims(space, nullptr, most_extent.data());
    // libhdf5 trusts a chunk's dimensions when it unpacks one, and reads past the end of a smaller
    // one.
    const bool fits = chunk[0] <= most_extent[0] && chunk[1] <= most_extent[1];
    check(fits && chunk_bytes && *chunk_bytes <= bytes + kMostSpareChunk, StatusCode::Corrupt, path,
          ": its chunks are larger than its data");
}

// A data set that is open and checked.
struct OpenSet {
    std::string name;  // for messages
    Hdf5Handle file, set;
    RowFile rows;
};

OpenSet open_rows(const std::string& path, std::string_view fallback) {
    const Hdf5Path parts = split_hdf5_path(path, fallback);
    const uint64_t file_bytes =
        InputFile(parts.file).bytes();  // and refuses what is no regular file
    Hdf5Handle file = open_file(parts.file);
    Hdf5Handle set = open_set(file, parts);
    const std::string name = parts.file + ":" + parts.set;
    RowFile rows = set_shape(set, name);
    check_storage(set, rows, file_bytes, name);
    return {name, std::move(file), std::move(set), rows};
}

void read_range(const OpenSet& open, RowRange range, hid_t type, void* out) {
    if (range.count == 0) return;
    const std::string& path = open.name;
    const Hdf5Handle source(H5Dget_space(open.set), H5Sclose, StatusCode::Corrupt, path,
                            "read the shape");
    const std::array<hsize_t, 2> start{range.first, 0}, count{range.count, open.rows.cols};
    const int dimensions = open.rows.one_dimensional ? 1 : 2;
    H5Sselect_hyperslab(source, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr);
    const Hdf5Handle target(H5Screate_simple(dimensions, count.data(), nullptr), H5Sclose,
                            StatusCode::OutOfMemory, path, "describe the rows");
    const bool done = H5Dread(open.set, type, target, source, H5P_DEFAULT, out) >= 0;
    check(done, StatusCode::Corrupt, path, ": cannot read rows ", range.first, " to ",
          range.first + range.count - 1, ": ", hdf5_error());
}

void read_narrowed(const OpenSet& open, RowRange range, float* out, bool exact_whole) {
    const uint64_t cols = open.rows.cols;
    const uint64_t block_rows = std::max<uint64_t>(1, kWideBlockBytes / (cols * sizeof(double)));
    std::vector<double> block(std::min(block_rows, range.count) * cols);
    for (uint64_t done = 0; done < range.count; done += block_rows) {
        const RowRange part{range.first + done, std::min(block_rows, range.count - done)};
        read_range(open, part, H5T_NATIVE_DOUBLE, block.data());
        narrow(block.data(), part.count * cols, cols, part.first, out + done * cols, open.name,
               exact_whole);
    }
}

}  // namespace

RowFile hdf5_info(const std::string& path, std::string_view fallback) {
    const Hdf5Session session;
    return open_rows(path, fallback).rows;
}

VectorData hdf5_read_vectors(const std::string& path, std::string_view fallback,
                             const VectorFileOptions& options) {
    const Hdf5Session session;
    const OpenSet open = open_rows(path, fallback);
    VectorData result;
    result.type = vector_type(open.rows.element, open.name);
    check(!open.rows.one_dimensional, StatusCode::Unsupported, open.name, ": has one dimension of ",
          open.rows.rows, " values; save it as rows x columns");
    const RowRange range = choose_rows(open.rows.rows, options, open.name);
    result.rows = range.count;
    result.cols = open.rows.cols;
    result.bytes.resize(range.count * open.rows.cols * element_size(result.type));
    uint8_t* out = result.bytes.mutable_data();
    switch (open.rows.element) {
        case FileElement::Float64:
            read_narrowed(open, range, static_cast<float*>(static_cast<void*>(out)),
                          options.exact_whole);
            break;
        case FileElement::Float16: read_range(open, range, hdf5_float16(open.name), out); break;
        case FileElement::Int8: read_range(open, range, H5T_NATIVE_INT8, out); break;
        case FileElement::UInt8: read_range(open, range, H5T_NATIVE_UINT8, out); break;
        default: read_range(open, range, H5T_NATIVE_FLOAT, out); break;
    }
    return result;
}

IdData hdf5_read_ids(const std::string& path, std::string_view fallback,
                     const VectorFileOptions& options) {
    const Hdf5Session session;
    const OpenSet open = open_rows(path, fallback);
    check_ids(open.rows.element, open.name);
    const RowRange range = choose_rows(open.rows.rows, options, open.name);
    IdData result;
    result.rows = range.count;
    result.cols = open.rows.cols;
    result.values.resize(range.count * open.rows.cols);
    read_range(open, range, H5T_NATIVE_INT64, result.values.data());
    return result;
}

}  // namespace nearcell
