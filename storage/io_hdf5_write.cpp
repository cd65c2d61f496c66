// HDF5, writing. libhdf5 makes the new file in memory, which AtomicFile then saves: a full disk is
// met by our code, not in the middle of the library's. That takes up to three times the data's
// memory. Data sets that a file holds already stay; one is replaced only when the file holds
// nothing but it and those that are written together with it.
#include <array>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include <nearcell/storage/atomic_file.h>
#include <nearcell/storage/hdf5_session.h>
#include <nearcell/storage/row_file.h>

namespace nearcell {
namespace {

using Together = std::vector<std::string>;

constexpr size_t kGrowth = size_t{1} << 20;
// libhdf5 wants names even for memory: ones that no file has, and not the same for two that are
// open.
constexpr char kNewName[] = "/dev/null/new.h5", kOldName[] = "/dev/null/old.h5";

Hdf5Handle memory_access(const std::string& path) {
    Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, StatusCode::OutOfMemory, path,
                      "prepare");
    const bool set = H5Pset_fapl_core(access, kGrowth, 0) >= 0;
    check(set, StatusCode::Unsupported, path,
          ": this libhdf5 cannot write to memory: ", hdf5_error());
    return access;
}

std::optional<std::vector<uint8_t>> existing_bytes(const std::string& path) {
    try {
        const InputFile file(path);
        std::vector<uint8_t> bytes(file.bytes());
        file.read_at(0, bytes.data(), bytes.size(), "the file to add to");
        return bytes;
    } catch (const Error& error) {
        if (error.code() != StatusCode::NotFound) throw;
        return std::nullopt;
    }
}

Hdf5Handle new_file(const std::string& path) {
    return {H5Fcreate(kNewName, H5F_ACC_TRUNC, H5P_DEFAULT, memory_access(path)), H5Fclose,
            StatusCode::Io, path, "make an HDF5 file"};
}

bool is_same_file(const std::string& a, const std::string& b) {
    std::error_code error;
    return a == b || std::filesystem::equivalent(a, b, error);
}

// What becomes of the data sets that are there.
enum class Before { Stay, SameNameGoes, AllGo };

// Throws AlreadyExists when one of this name is there, and others that are not ours. The first of
// those that are written together takes the others of an earlier time with it, lest sets of two
// times stand side by side.
Before fate_of_sets(hid_t file, const Hdf5Path& path, const Together& together) {
    const auto exists = [&](const std::string& set) {
        return H5Lexists(file, set.c_str(), H5P_DEFAULT) > 0;
    };
    const bool is_there = exists(path.set);
    std::set<std::string> ours;
    if (is_there) ours.insert(path.set);
    bool is_first = false;
    for (size_t i = 0; i < together.size(); ++i) {
        const Hdf5Path parts = split_hdf5_path(together[i], path.set);
        if (!is_same_file(parts.file, path.file)) continue;
        if (exists(parts.set)) ours.insert(parts.set);
        if (i == 0) is_first = parts.set == path.set;
    }
    H5G_info_t group{};
    H5Gget_info(file, &group);
    const bool all_ours = ours.size() == group.nlinks;
    check(!is_there || all_ours, StatusCode::AlreadyExists, path.file, ": has a data set '",
          path.set,
          "' beside others; write another file, or another data set as in file.hdf5:name");
    if (all_ours && (is_first || (is_there && ours.size() == 1))) return Before::AllGo;
    return is_there ? Before::SameNameGoes : Before::Stay;
}

// The file to write the set into: what is at the path, or a new one.
Hdf5Handle file_for(const Hdf5Path& path, const Together& together) {
    std::optional<std::vector<uint8_t>> bytes = existing_bytes(path.file);
    if (!bytes) return new_file(path.file);
    const Hdf5Handle access = memory_access(path.file);
    const bool taken =
        !bytes->empty() && H5Pset_file_image(access, bytes->data(), bytes->size()) >= 0;
    check(taken, StatusCode::Corrupt, path.file,
          ": exists and is not an HDF5 file; remove it first");
    bytes->clear();
    bytes->shrink_to_fit();
    Hdf5Handle file(H5Fopen(kOldName, H5F_ACC_RDWR, access), H5Fclose, StatusCode::Corrupt,
                    path.file, "add to what is there; remove it first");
    const Before before = fate_of_sets(file, path, together);
    if (before == Before::AllGo) return new_file(path.file);
    const bool gone = before == Before::Stay || H5Ldelete(file, path.set.c_str(), H5P_DEFAULT) >= 0;
    check(gone, StatusCode::Corrupt, path.file, ": cannot replace '", path.set,
          "'; remove the file first: ", hdf5_error());
    return file;
}

hid_t plain_type(FileElement element) {
    switch (element) {
        case FileElement::Float32: return H5T_IEEE_F32LE;
        case FileElement::Float64: return H5T_IEEE_F64LE;
        case FileElement::Int8: return H5T_STD_I8LE;
        case FileElement::UInt8: return H5T_STD_U8LE;
        case FileElement::Int32: return H5T_STD_I32LE;
        case FileElement::Int64: return H5T_STD_I64LE;
        case FileElement::Float16:
        case FileElement::BFloat16: break;
    }
    return -1;
}

Hdf5Handle file_type(FileElement element, const std::string& path) {
    if (element == FileElement::Float16) return hdf5_float16(path);
    check(element != FileElement::BFloat16, StatusCode::InvalidArgument, path,
          ": hdf5 cannot hold bfloat16 values; convert them to float32 or float16, or write raw");
    return {H5Tcopy(plain_type(element)), H5Tclose, StatusCode::OutOfMemory, path,
            "describe the element type"};
}

struct Shape {
    uint64_t rows, cols, stride;
};

void write_set(hid_t file, const Hdf5Path& path, hid_t type, const void* data, const Shape& shape) {
    const std::array<hsize_t, 2> extent{shape.rows, shape.cols}, memory{shape.rows, shape.stride};
    const Hdf5Handle space(H5Screate_simple(2, extent.data(), nullptr), H5Sclose,
                           StatusCode::InvalidArgument, path.file, "describe the rows");
    const Hdf5Handle plist(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, StatusCode::OutOfMemory,
                           path.file, "prepare");
    H5Pset_obj_track_times(plist, false);  // the same data gives the same bytes
    const Hdf5Handle set(
        H5Dcreate2(file, path.set.c_str(), type, space, H5P_DEFAULT, plist, H5P_DEFAULT), H5Dclose,
        StatusCode::Io, path.file, "make a data set '" + path.set + "'");
    if (shape.rows == 0) return;
    const Hdf5Handle source(H5Screate_simple(2, memory.data(), nullptr), H5Sclose,
                            StatusCode::InvalidArgument, path.file, "describe the rows");
    const std::array<hsize_t, 2> start{0, 0};
    H5Sselect_hyperslab(source, H5S_SELECT_SET, start.data(), nullptr, extent.data(), nullptr);
    const bool done = H5Dwrite(set, type, source, space, H5P_DEFAULT, data) >= 0;
    check(done, StatusCode::OutOfMemory, path.file, ": cannot put ", shape.rows, " x ", shape.cols,
          " values into memory: ", hdf5_error());
}

std::vector<uint8_t> image_of(hid_t file, const std::string& path) {
    H5Fflush(file, H5F_SCOPE_GLOBAL);
    const ssize_t size = H5Fget_file_image(file, nullptr, 0);
    std::vector<uint8_t> image(size > 0 ? static_cast<size_t>(size) : 0);
    const bool done = size > 0 && H5Fget_file_image(file, image.data(), image.size()) == size;
    check(done, StatusCode::Io, path, ": cannot finish the HDF5 file: ", hdf5_error());
    return image;
}

Hdf5Path target_path(const std::string& path, std::string_view fallback) {
    Hdf5Path parts = split_hdf5_path(path, fallback);
    check(parts.set.find('/') == std::string::npos, StatusCode::InvalidArgument, path,
          ": data sets are written at the top of a file; leave the '/' out of the name");
    return parts;
}

}  // namespace

void hdf5_write(const std::string& path, std::string_view fallback, FileElement element,
                const void* data, uint64_t rows, uint64_t cols, uint64_t stride,
                const Together& together) {
    const Hdf5Session session;
    const Hdf5Path parts = target_path(path, fallback);
    const Hdf5Handle type = file_type(element, parts.file);
    AtomicFile target(parts.file);  // first: it refuses what must not be replaced
    std::vector<uint8_t> image;
    {
        const Hdf5Handle file = file_for(parts, together);
        write_set(file, parts, type, data, {rows, cols, stride});
        image = image_of(file, parts.file);
    }
    target.append(image.data(), image.size());
    target.commit();
}

// Of what is there only its list of data sets is read.
void hdf5_check_write(const std::string& path, std::string_view fallback, FileElement element,
                      const Together& together) {
    const Hdf5Session session;
    const Hdf5Path parts = target_path(path, fallback);
    file_type(element, parts.file);
    try {
        const InputFile there(parts.file);
    } catch (const Error& error) {
        if (error.code() != StatusCode::NotFound) throw;
        return;
    }
    const Hdf5Handle file(H5Fopen(parts.file.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose,
                          StatusCode::Corrupt, parts.file, "add to what is there; remove it first");
    fate_of_sets(file, parts, together);
}

}  // namespace nearcell
