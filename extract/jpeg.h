// JPEG decoding by libjpeg, for image.h: the pixels that Pillow and most other programs see. The
// bytes were inspected (picture_bytes.h); what libjpeg finds damaged beyond that is an Error, where
// it would by itself go on with grey. Cost: one pass over the data, and of a progressive file its
// coefficients in memory, 6 bytes a pixel. Thread safe.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include <nearcell/extract/image.h>
#include <nearcell/extract/picture_bytes.h>

namespace nearcell {

// Throws Corrupt, Unsupported; messages begin with `name`, the file's.
Image decode_jpeg(std::span<const uint8_t> bytes, const PictureInfo& info, std::string_view name);

}  // namespace nearcell
