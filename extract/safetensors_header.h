// The header of a safetensors file as a list: what the JSON says, checked as far as it can be
// without the file (types, shapes, sizes, offsets). Used by safetensors.cpp. Cost: linear in the
// header, no recursion. Pure; thread safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace nearcell {

struct TensorEntry {
    std::string name;
    std::string type;
    std::vector<uint64_t> shape;
    uint64_t begin = 0;  // offsets into the data after the header
    uint64_t end = 0;
    uint64_t elements = 0;
};

struct SafetensorsHeader {
    std::vector<TensorEntry> tensors;  // in the order of their data
    std::map<std::string, std::string, std::less<>> metadata;
};

// Throws Corrupt or Unsupported; messages begin with `path`. `data_bytes`: what follows the header.
SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t data_bytes,
                                           const std::string& path);

// A name from a file, fit for a message: printable and in quotes.
std::string shown_name(std::string_view name);
std::string shown_shape(const std::vector<uint64_t>& shape);

}  // namespace nearcell
