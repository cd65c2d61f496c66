// Hdf5Session and Hdf5Handle: libhdf5's C API made safe to use. A session is held for the length of
// one operation: it locks the library, which need not be thread safe, and silences its error
// printing. Internal to storage/io_hdf5*.cpp, the only files that include hdf5.h. libhdf5 parses
// the file: it is not hardened against hostile files as the other readers are.
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include <hdf5.h>

#include <nearcell/core/error.h>

namespace nearcell {

class Hdf5Session {
   public:
    Hdf5Session();
    ~Hdf5Session();
    Hdf5Session(const Hdf5Session&) = delete;
    Hdf5Session& operator=(const Hdf5Session&) = delete;

   private:
    std::unique_lock<std::mutex> lock_;
    H5E_auto2_t print_ = nullptr;
    void* print_data_ = nullptr;
};

// What libhdf5 says the last failure was.
std::string hdf5_error();

// An open HDF5 object, closed by the function given.
class Hdf5Handle {
   public:
    using Close = herr_t (*)(hid_t);
    // Throws `code` with `action` and the library's reason when `id` is that of a failure.
    Hdf5Handle(hid_t id, Close close, StatusCode code, const std::string& path,
               std::string_view action)
        : id_(id), close_(close) {
        check(id >= 0, code, path, ": cannot ", action, ": ", hdf5_error());
    }
    Hdf5Handle(Hdf5Handle&& other) noexcept
        : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
    Hdf5Handle& operator=(Hdf5Handle&&) = delete;
    ~Hdf5Handle() {
        if (id_ >= 0) close_(id_);
    }
    operator hid_t() const { return id_; }

   private:
    hid_t id_;
    Close close_;
};

// "name.hdf5:data set" in its two parts.
struct Hdf5Path {
    std::string file;
    std::string set;  // without a leading slash
};
Hdf5Path split_hdf5_path(const std::string& path, std::string_view fallback);

// IEEE half precision, which libhdf5 has no ready-made type for.
Hdf5Handle hdf5_float16(const std::string& path);

}  // namespace nearcell
