// For the tests of pictures: samples as bytes, with EXIF too, images of noise, hashes, damage, and
// where the photographs of the project's shared folder are.
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

// As PNG's chunks have it.
inline uint32_t crc32(const uint8_t* data, size_t size) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; ++i) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; ++bit)
            crc = (crc >> 1) ^ ((crc & 1u) != 0 ? 0xedb88320u : 0u);
    }
    return ~crc;
}

inline void append_big(std::vector<uint8_t>& bytes, size_t value, int count) {
    for (int shift = 8 * (count - 1); shift >= 0; shift -= 8)
        bytes.push_back(static_cast<uint8_t>(value >> shift));
}

inline void append_chunk(std::vector<uint8_t>& png, std::string_view type,
                         const std::vector<uint8_t>& body) {
    append_big(png, body.size(), 4);
    for (const char c : type)
        png.push_back(static_cast<uint8_t>(c));
    png.insert(png.end(), body.begin(), body.end());
    const size_t checked = type.size() + body.size();
    append_big(png, crc32(png.data() + png.size() - checked, checked), 4);
}

// An EXIF block of two entries, the second of them the orientation, at byte 22.
inline std::vector<uint8_t> exif_of(int orientation, bool little) {
    const auto value = static_cast<uint8_t>(orientation);
    if (little) {
        return {'I', 'I', 42, 0,    8, 0, 0, 0, 2, 0, 0x10, 1,     2, 0, 1, 0, 0, 0, 'x',
                0,   0,   0,  0x12, 1, 3, 0, 1, 0, 0, 0,    value, 0, 0, 0, 0, 0, 0, 0};
    }
    return {'M', 'M', 0, 42, 0,    0, 0, 8, 0, 2, 1, 0x10, 0,     2, 0, 0, 0, 1, 'x',
            0,   0,   0, 1,  0x12, 0, 3, 0, 0, 0, 1, 0,    value, 0, 0, 0, 0, 0, 0};
}

// A JPEG with such a block behind its start, or a PNG behind its header.
inline std::vector<uint8_t> with_exif(const std::vector<uint8_t>& picture,
                                      const std::vector<uint8_t>& exif) {
    const bool png = picture[0] == 0x89;
    std::vector<uint8_t> whole(picture.begin(), picture.begin() + (png ? 33 : 2));
    const auto left = static_cast<ptrdiff_t>(whole.size());
    if (png) {
        append_chunk(whole, "eXIf", exif);
    } else {
        append_big(whole, 0xffe1, 2);
        append_big(whole, exif.size() + 8, 2);
        append_big(whole, 0x457869660000, 6);  // "Exif" and two zeros
        whole.insert(whole.end(), exif.begin(), exif.end());
    }
    whole.insert(whole.end(), picture.begin() + left, picture.end());
    return whole;
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
