// SHA-256 (FIPS 180-4) of bytes and of files: how a table of models says which weights it means,
// and how weights are known not to have been exchanged. Cost: 0.3 GB/s. Not for secrets.
// Thread safety: a Sha256 is one thread's; the functions are pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace nearcell {

class Sha256 {
   public:
    void add(const void* data, size_t bytes);
    std::string hex();  // 64 digits; nothing may be added afterwards

   private:
    void add_block(const uint8_t* block);

    std::array<uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                   0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<uint8_t, 64> rest_{};  // bytes that do not fill a block yet
    uint64_t bytes_ = 0;
};

// Throws NotFound and Io.
std::string sha256_of_file(const std::string& path);

}  // namespace nearcell
