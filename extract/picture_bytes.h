// What the bytes of a picture file say of themselves, checked before anything is decoded or
// allocated: which format, which size, whether the file is there from its start to its end, and
// whether so few bytes can hold so many pixels at all. The decoder (image.h) fills the missing part
// of a truncated file with grey and accepts damaged PNG chunks, so the checks are made here. Cost:
// one pass over the bytes; 0.5 GB/s for PNG, whose checksums are verified, much less for JPEG (a
// memchr); of a BMP the header only. Pure; thread safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace nearcell {

constexpr size_t kMaxPicturePixels = size_t{64} << 20;
constexpr size_t kMaxPictureSide = 65535;
constexpr size_t kMaxPictureBytes = size_t{256} << 20;
// A progressive JPEG goes over all its pixels once a scan; encoders write about ten. A few hundred
// bytes may promise many scans of many pixels: both together are limited, too.
constexpr size_t kMaxJpegScans = 200;
constexpr size_t kMaxScannedPixels = 20 * kMaxPicturePixels;

enum class PictureFormat { Jpeg, Png, Bmp };

struct PictureInfo {
    PictureFormat format = PictureFormat::Jpeg;
    size_t width = 0;
    size_t height = 0;
    int orientation = 1;  // as EXIF tells it; width and height are those before it is applied
};

// Throws Corrupt (empty, truncated, damaged, no picture at all) or Unsupported (too large, or a
// kind of the format that is not decoded); messages begin with `name`, the file's.
PictureInfo inspect_picture(std::span<const uint8_t> bytes, std::string_view name);

}  // namespace nearcell
