// Image: the pixels of a picture, and how a JPEG, PNG or BMP file becomes one. Whatever the file
// holds, the result is 8-bit RGB: grey is replicated, alpha is laid over white (that of a BMP,
// mostly padding, is ignored), 16-bit channels keep their high byte, CMYK is converted. The
// orientation that EXIF tells is applied, in JPEG and in PNG (Pillow: ImageOps.exif_transpose);
// colour profiles and gamma are not; of an animation the first picture is read. JPEG pixels are
// those of libjpeg.
//
// Bytes are not trusted: sizes are checked before anything is allocated, memory is limited by the
// size the header states, and a file that is broken, truncated or empty is an Error that names it.
// Cost: one pass over the file's bytes and decoding, which is most of it; memory while it lasts: at
// most 32 bytes a pixel and four times the file. Thread safe: any number of threads may decode at
// once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nearcell {

constexpr size_t kImageChannels = 3;

struct Image {
    size_t width = 0;
    size_t height = 0;
    std::vector<uint8_t> pixels;  // height x width x (red, green, blue)

    Image() = default;
    Image(size_t width_, size_t height_)
        : width(width_), height(height_), pixels(width_ * height_ * kImageChannels) {}
    const uint8_t* row(size_t y) const { return pixels.data() + y * width * kImageChannels; }
    uint8_t* row(size_t y) { return pixels.data() + y * width * kImageChannels; }
};

// Throws Corrupt (broken, truncated, empty, no picture) or Unsupported (more than 64 megapixels,
// 65,535 a side or 256 MiB; a kind of the format that is not decoded). `name` is for messages.
Image decode_image(std::span<const uint8_t> bytes, std::string_view name);

// The same for a file; also throws NotFound and Io.
Image read_image(const std::string& path);

// Throws InvalidArgument unless the image has at least one pixel and its pixels have its size.
void check_image(const Image& image);

}  // namespace nearcell
