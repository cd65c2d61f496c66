// The HDF5 samples as bytes.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "storage/hdf5_samples.h"

namespace nearcell {

inline std::vector<uint8_t> hdf5_bytes(const char* text) {
    std::vector<uint8_t> bytes;
    while (*text != '\0') {
        if (*text == '.') {
            char* end = nullptr;
            bytes.resize(bytes.size() + std::strtoul(text + 1, &end, 10));
            text = end + 1;
        } else {
            const char digits[] = {text[0], text[1], '\0'};
            bytes.push_back(static_cast<uint8_t>(std::strtoul(digits, nullptr, 16)));
            text += 2;
        }
    }
    return bytes;
}

}  // namespace nearcell
