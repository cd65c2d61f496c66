#include <nearcell/storage/input_file.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nearcell/core/error.h>

namespace nearcell {

InputFile::InputFile(const std::string& path) : path_(path) {
    check(path.find('\0') == std::string::npos, StatusCode::Io, "a path holds a zero byte");
    // O_NONBLOCK: a named pipe is then refused below instead of waiting for its writer.
    do {
        descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    } while (descriptor_ < 0 && errno == EINTR);
    if (descriptor_ < 0) {
        const int error = errno;
        const bool missing = error == ENOENT || error == ENOTDIR;
        throw_file_error(missing ? StatusCode::NotFound : StatusCode::Io, path, error,
                         "cannot open for reading: ", std::strerror(error));
    }
    struct stat status {};
    const bool known = ::fstat(descriptor_, &status) == 0;
    if (!known || !S_ISREG(status.st_mode)) {
        ::close(descriptor_);
        throw_error(StatusCode::Io, path, ": is not a regular file; copy the data to one first");
    }
    bytes_ = static_cast<uint64_t>(status.st_size);
}

InputFile::~InputFile() { ::close(descriptor_); }

void InputFile::read_at(uint64_t offset, void* data, size_t bytes, std::string_view what) const {
    check(offset <= bytes_ && bytes <= bytes_ - offset, StatusCode::Corrupt, path_, ": ", what,
          " needs ", bytes, " bytes at offset ", offset, ", but the file has only ", bytes_,
          ": it is truncated or of another format");
    constexpr size_t kMostAtOnce = size_t{1} << 30;  // the kernel reads less than 2 GiB a call
    char* out = static_cast<char*>(data);
    while (bytes > 0) {
        const ssize_t got =
            ::pread(descriptor_, out, std::min(bytes, kMostAtOnce), static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            throw_file_error(StatusCode::Io, path_, errno, "cannot read ", what, ": ",
                             std::strerror(errno));
        }
        check(got > 0, StatusCode::Corrupt, path_, ": became shorter while it was read, at offset ",
              offset);
        out += got;
        offset += static_cast<uint64_t>(got);
        bytes -= static_cast<size_t>(got);
    }
}

FileStamp file_stamp(const std::string& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) return {};
    return {static_cast<uint64_t>(status.st_dev), static_cast<uint64_t>(status.st_ino),
            static_cast<uint64_t>(status.st_size), static_cast<uint64_t>(status.st_mtim.tv_sec),
            static_cast<uint64_t>(status.st_mtim.tv_nsec)};
}

}  // namespace nearcell
