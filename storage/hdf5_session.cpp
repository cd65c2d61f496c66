#include <nearcell/storage/hdf5_session.h>

#include <algorithm>

namespace nearcell {
namespace {

std::mutex& library_mutex() {
    static std::mutex mutex;
    return mutex;
}

// The innermost entry of the error stack says what went wrong, the outer ones on the way to what.
herr_t keep_first(unsigned, const H5E_error2_t* entry, void* text) {
    std::string& reason = *static_cast<std::string*>(text);
    if (reason.empty() && entry->desc != nullptr) reason = entry->desc;
    return 0;
}

}  // namespace

Hdf5Session::Hdf5Session() : lock_(library_mutex()) {
    H5Eget_auto2(H5E_DEFAULT, &print_, &print_data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

Hdf5Session::~Hdf5Session() { H5Eset_auto2(H5E_DEFAULT, print_, print_data_); }

std::string hdf5_error() {
    std::string reason;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &reason);
    return reason.empty() ? "libhdf5 gives no reason" : reason;
}

Hdf5Path split_hdf5_path(const std::string& path, std::string_view fallback) {
    check(path.find('\0') == std::string::npos, StatusCode::Io, "a path holds a zero byte");
    Hdf5Path parts{path, std::string(fallback)};
    for (const std::string_view suffix : {".hdf5:", ".h5:"}) {
        const size_t at = path.rfind(suffix);
        if (at == std::string::npos) continue;
        parts.file = path.substr(0, at + suffix.size() - 1);
        parts.set = path.substr(at + suffix.size());
        break;
    }
    parts.set.erase(0, std::min(parts.set.find_first_not_of('/'), parts.set.size()));
    check(!parts.set.empty(), StatusCode::InvalidArgument, path,
          ": names no data set after the colon");
    return parts;
}

Hdf5Handle hdf5_float16(const std::string& path) {
    Hdf5Handle type(H5Tcopy(H5T_IEEE_F32LE), H5Tclose, StatusCode::OutOfMemory, path,
                    "describe float16");
    const bool made = H5Tset_fields(type, 15, 10, 5, 0, 10) >= 0 && H5Tset_size(type, 2) >= 0 &&
                      H5Tset_ebias(type, 15) >= 0;
    check(made, StatusCode::Unsupported, path, ": cannot describe float16: ", hdf5_error());
    return type;
}

}  // namespace nearcell
