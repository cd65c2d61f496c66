// For the tests of pictures: samples as bytes, images of noise, hashes, damage, and where the
// photographs of the project's shared folder are.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include <nearcell/core/random.h>
#include <nearcell/extract/image.h>

#include "extract/picture_samples.h"

namespace nearcell {

inline std::vector<uint8_t> bytes_of_hex(std::string_view text) {
    const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
    std::vector<uint8_t> bytes;
    for (size_t i = 0; i + 1 < text.size(); i += 2)
        bytes.push_back(static_cast<uint8_t>(digit(text[i]) * 16 + digit(text[i + 1])));
    return bytes;
}

inline std::vector<uint8_t> sample_bytes(std::string_view name) {
    for (const PictureSample& sample : kPictureSamples)
        if (name == sample.name) return bytes_of_hex(sample.bytes);
    std::abort();
}

inline uint64_t fnv(const std::vector<uint8_t>& bytes) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (const uint8_t byte : bytes)
        hash = (hash ^ byte) * 0x100000001b3u;
    return hash;
}

inline Image noise_image(size_t width, size_t height, uint64_t seed) {
    Image image(width, height);
    Random random(seed);
    for (uint8_t& value : image.pixels)
        value = static_cast<uint8_t>(random.next() >> 56);
    return image;
}

// One of several kinds of damage: bytes changed, bits flipped, a cut, a piece doubled or removed.
inline std::vector<uint8_t> damaged(std::vector<uint8_t> bytes, Random& random) {
    const size_t size = bytes.size();
    const auto some = [&](size_t bound) { return static_cast<ptrdiff_t>(random.below(bound)); };
    const ptrdiff_t at = some(size), count = some(std::min<size_t>(size - size_t(at), 40)) + 1;
    switch (random.below(6)) {
        case 0: bytes.resize(static_cast<size_t>(at)); break;
        case 1: bytes.erase(bytes.begin() + at, bytes.begin() + at + count); break;
        case 2: {
            const std::vector<uint8_t> piece(bytes.begin() + at, bytes.begin() + at + count);
            bytes.insert(bytes.begin() + some(size), piece.begin(), piece.end());
            break;
        }
        case 3:
            for (ptrdiff_t i = at; i < at + count; ++i)
                bytes[static_cast<size_t>(i)] = static_cast<uint8_t>(random.next());
            break;
        case 4: bytes[random.below(size)] = random.below(2) == 0 ? 0xff : 0; break;
        default:
            for (uint64_t i = random.below(4) + 1; i > 0; --i)
                bytes[random.below(size)] ^= static_cast<uint8_t>(1u << random.below(8));
    }
    return bytes;
}

// A file of the shared folder (NEARCELL_SHARED, or what CMake found); empty, with the reason
// printed, where there is none.
inline std::string shared_file(const std::string& name) {
    const char* folder = std::getenv("NEARCELL_SHARED");
    const auto path = std::filesystem::path(folder != nullptr ? folder : NEARCELL_SHARED) / name;
    if (std::filesystem::exists(path)) return path.string();
    std::cout << path.string() << " is not there: set NEARCELL_SHARED to the shared folder\n";
    return {};
}

}  // namespace nearcell
