#include <nearcell/storage/atomic_file.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>

namespace nearcell {
namespace {

// Differs between processes, and between calls within one. Uniqueness is O_EXCL's work, not ours.
uint64_t unlikely_number() {
    static std::atomic<uint64_t> calls{0};
    const auto now = std::chrono::system_clock::now().time_since_epoch().count();
    const uint64_t process = static_cast<uint64_t>(::getpid());
    return Random(static_cast<uint64_t>(now) ^ (process << 40) ^ (++calls << 24)).next();
}

std::string temporary_name(const std::string& name) {
    constexpr size_t kLongestStem = 200;  // names of 255 bytes are the usual limit
    char suffix[32];
    std::snprintf(suffix, sizeof suffix, ".tmp.%016llx",
                  static_cast<unsigned long long>(unlikely_number()));
    return name.substr(0, kLongestStem) + suffix;
}

const char* remedy(int error) {
    switch (error) {
        case ENOSPC: return "; free some space or save elsewhere";
        case EDQUOT: return "; the quota is used up: free some space or save elsewhere";
        case EFBIG: return "; the file size limit (ulimit -f) is too small";
        case ENOENT: return "; create the directory first";
        case EACCES:
        case EPERM:
        case EROFS: return "; save where you may write";
        default: return "";
    }
}

}  // namespace

AtomicFile::AtomicFile(const std::string& path) : path_(path) {
    try {
        open_directory();
        inspect_target();
        create_temporary();
    } catch (...) {
        discard();
        throw;
    }
}

AtomicFile::AtomicFile(const std::string& path, uint64_t kept, const std::string& owner)
    : path_(path), owner_(owner), resumed_(true) {
    try {
        open_directory();
        inspect_target();
        open_partial(kept);
    } catch (...) {
        close_all();
        throw;
    }
}

AtomicFile::~AtomicFile() {
    if (!resumed_) discard();
    close_all();
}

void AtomicFile::fail(const char* action, int error) const {
    throw_file_error(StatusCode::Io, path_, error, "cannot ", action, ": ", std::strerror(error),
                     remedy(error));
}

// Later steps name files relative to this descriptor: a directory that is moved meanwhile, or a
// changed working directory, does not matter.
void AtomicFile::open_directory() {
    const size_t slash = path_.rfind('/');
    const std::string directory = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
    name_ = slash == std::string::npos ? path_ : path_.substr(slash + 1);
    check(!name_.empty() && name_ != "." && name_ != "..", StatusCode::Io, "'", path_,
          "': is not the name of a file; give one to write");
    check(path_.find('\0') == std::string::npos, StatusCode::Io, "a path holds a zero byte");
    directory_ = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory_ < 0) fail("open its directory", errno);
}

void AtomicFile::inspect_target() {
    struct stat status {};
    if (::fstatat(directory_, name_.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT) fail("look at the file to replace", errno);
        return;
    }
    check(!S_ISLNK(status.st_mode), StatusCode::Io, path_,
          ": is a symbolic link, which saving would replace; give the path it points to");
    check(S_ISREG(status.st_mode), StatusCode::Io, path_,
          ": exists and is not a regular file; give another path");
    replaces_ = true;
    mode_ = status.st_mode & 0777u;
}

void AtomicFile::create_temporary() {
    for (int attempt = 0; attempt < 100 && descriptor_ < 0; ++attempt) {
        temporary_ = temporary_name(name_);
        descriptor_ = ::openat(directory_, temporary_.c_str(),
                               O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, creation_mode());
        if (descriptor_ < 0 && errno != EEXIST && errno != EINTR) break;
    }
    if (descriptor_ < 0) {
        const int error = errno;
        temporary_.clear();
        fail("create a temporary file beside it", error);
    }
    if (replaces_ && ::fchmod(descriptor_, mode_) != 0) fail("keep its permissions", errno);
}

void AtomicFile::open_partial(uint64_t kept) {
    temporary_ = partial_path(name_, owner_);
    do {
        descriptor_ =
            ::openat(directory_, temporary_.c_str(),
                     O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, creation_mode());
    } while (descriptor_ < 0 && errno == EINTR);
    if (descriptor_ < 0) fail("open its .part file", errno);
    lock_partial();
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) fail("look at its .part file", errno);
    check(S_ISREG(status.st_mode), StatusCode::Io, partial_path(path_, owner_),
          ": is not a regular file; give another path to write");
    check(static_cast<uint64_t>(status.st_size) >= kept, StatusCode::Corrupt,
          partial_path(path_, owner_), ": has ", status.st_size, " bytes, but ", kept,
          " were written: it was changed since; begin anew");
    if (::ftruncate(descriptor_, static_cast<off_t>(kept)) != 0) fail("cut its .part file", errno);
    if (replaces_ && ::fchmod(descriptor_, mode_) != 0) fail("keep its permissions", errno);
    bytes_ = kept;
}

// The lock is the open file's and ends with it, so a process that was killed leaves none.
void AtomicFile::lock_partial() {
    int result = 0;
    do {
        result = ::flock(descriptor_, LOCK_EX | LOCK_NB);
    } while (result != 0 && errno == EINTR);
    // Some file systems have no locks: there, whoever starts it twice is not stopped.
    const bool taken = result != 0 && errno == EWOULDBLOCK;
    // Another process may have finished it between opening and locking.
    struct stat ours {
    }, named{};
    const bool same = ::fstat(descriptor_, &ours) == 0 &&
                      ::fstatat(directory_, temporary_.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
                      ours.st_dev == named.st_dev && ours.st_ino == named.st_ino;
    check(!taken && same, StatusCode::Io, partial_path(path_, owner_),
          ": another process is writing it; wait until it is done");
}

void AtomicFile::reserve(uint64_t bytes) {
    if (bytes == 0) return;
    int error = 0;
    do {
        error = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(bytes));
    } while (error == EINTR);
    // Some file systems cannot: then a full disk is found when writing.
    if (error != 0 && error != EOPNOTSUPP && error != EINVAL && error != ENOSYS) {
        fail("take the room it needs", error);
    }
}

void AtomicFile::append(const void* data, size_t bytes) {
    write_at(bytes_, data, bytes);
    bytes_ += bytes;
}

void AtomicFile::write_at(uint64_t offset, const void* data, size_t bytes) {
    constexpr size_t kMostAtOnce = size_t{1} << 30;  // the kernel writes less than 2 GiB a call
    const char* from = static_cast<const char*>(data);
    while (bytes > 0) {
        const ssize_t put =
            ::pwrite(descriptor_, from, std::min(bytes, kMostAtOnce), static_cast<off_t>(offset));
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) fail("write", put < 0 ? errno : EIO);
        from += put;
        offset += static_cast<uint64_t>(put);
        bytes -= static_cast<size_t>(put);
    }
}

void AtomicFile::sync() {
    while (::fsync(descriptor_) != 0) {
        if (errno != EINTR) fail("bring it to the disk", errno);
    }
    if (!directory_synced_) sync_directory();
    directory_synced_ = true;
}

void AtomicFile::commit() {
    if (::ftruncate(descriptor_, static_cast<off_t>(bytes_)) != 0) fail("set its length", errno);
    while (::fsync(descriptor_) != 0) {
        if (errno != EINTR) fail("bring it to the disk", errno);
    }
    const int closing = descriptor_;
    descriptor_ = -1;
    if (::close(closing) != 0 && errno != EINTR) fail("close", errno);
    if (::renameat(directory_, temporary_.c_str(), directory_, name_.c_str()) != 0) {
        fail("rename the temporary file over it", errno);
    }
    temporary_.clear();
    sync_directory();
}

void AtomicFile::sync_directory() {
    while (::fsync(directory_) != 0) {
        if (errno == EINTR) continue;
        if (errno == EINVAL || errno == EOPNOTSUPP) break;  // not a thing this file system does
        fail(
            "bring its directory to the disk (the file is written, but a power failure may undo "
            "it)",
            errno);
    }
}

void AtomicFile::discard() noexcept {
    if (!temporary_.empty()) ::unlinkat(directory_, temporary_.c_str(), 0);
    temporary_.clear();
    close_all();
}

void AtomicFile::close_all() noexcept {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (directory_ >= 0) ::close(directory_);
    descriptor_ = directory_ = -1;
}

}  // namespace nearcell
