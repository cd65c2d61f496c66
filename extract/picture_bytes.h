// What the bytes of a picture file say of themselves, checked before anything is decoded or
// allocated: which format, which size, and whether the file is there from its start to its end. The
// decoder (image.h) fills the missing part of a truncated file with grey and accepts damaged PNG
// chunks, so the checks are made here. Cost: one pass over the bytes, some GB/s for JPEG, 0.4 GB/s
// for PNG, whose checksums are verified; BMP looks at its header only. Pure; thread safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace nearcell {

constexpr size_t kMaxPicturePixels = size_t{64} << 20;
constexpr size_t kMaxPictureSide = 65535;
constexpr size_t kMaxPictureBytes = size_t{256} << 20;
// A progressive JPEG goes over all its pixels once a scan; encoders write about ten.
constexpr size_t kMaxJpegScans = 200;

enum class PictureFormat { Jpeg, Png, Bmp };

struct PictureInfo {
    PictureFormat format = PictureFormat::Jpeg;
    size_t width = 0;
    size_t height = 0;
};

// Throws Corrupt (empty, truncated, damaged, no picture at all) or Unsupported (too large, or a
// kind of the format that is not decoded); messages begin with `name`, the file's.
PictureInfo inspect_picture(std::span<const uint8_t> bytes, std::string_view name);

}  // namespace nearcell
