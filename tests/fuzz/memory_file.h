// MemoryFile: bytes under a path, for readers that want one. The file is in memory and has no name
// in any folder. Not thread safe.
#pragma once

#include <string>

#include <sys/mman.h>
#include <unistd.h>

#include "fuzz_target.h"

namespace nearcell::fuzz {

class MemoryFile {
   public:
    MemoryFile() : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
        require(descriptor_ >= 0);
        path_ = "/proc/self/fd/" + std::to_string(descriptor_);
    }
    ~MemoryFile() { ::close(descriptor_); }
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;

    const std::string& path() const { return path_; }
    void set(const uint8_t* data, size_t size) {
        require(::ftruncate(descriptor_, static_cast<off_t>(size)) == 0);
        require(::pwrite(descriptor_, data, size, 0) == static_cast<ssize_t>(size));
    }

   private:
    int descriptor_;
    std::string path_;
};

}  // namespace nearcell::fuzz
