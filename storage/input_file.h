// InputFile: a regular file open for reading by position. Every read is checked against the length
// found at opening, so a count taken from the file cannot make one go past the end. Thread safety:
// read_at() may be called by several threads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace nearcell {

class InputFile {
   public:
    // Throws NotFound when there is no such file; Io when it cannot be opened or is not a regular
    // file.
    explicit InputFile(const std::string& path);
    ~InputFile();
    InputFile(const InputFile&) = delete;
    InputFile& operator=(const InputFile&) = delete;

    const std::string& path() const { return path_; }
    uint64_t bytes() const { return bytes_; }
    int descriptor() const { return descriptor_; }

    // Fills `data` from `offset`; throws Corrupt, naming `what` was wanted, when the file is
    // shorter.
    void read_at(uint64_t offset, void* data, size_t bytes, std::string_view what) const;

   private:
    std::string path_;
    int descriptor_ = -1;
    uint64_t bytes_ = 0;
};

// Device, number, length and time of modification of a file, in words that differ once another took
// its place or it was written to; zeros where there is none.
using FileStamp = std::array<uint64_t, 5>;
FileStamp file_stamp(const std::string& path);

}  // namespace nearcell
