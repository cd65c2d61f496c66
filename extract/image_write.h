// The bytes of a picture file of an image: what is shown, not what features are made of. A JPEG is
// a tenth of a PNG, and not the same pixels. Cost: about that of decoding what comes out; memory
// for a PNG: three times the pixels. The same bytes for the same image. Pure; thread safe.
#pragma once

#include <cstdint>
#include <vector>

#include <nearcell/extract/image.h>

namespace nearcell {

// Throws InvalidArgument for an image that check_image refuses.
std::vector<uint8_t> encode_png(const Image& image);
// quality: 1 to 100; colours are kept at half the resolution up to 90. Throws InvalidArgument for
// another quality, too.
std::vector<uint8_t> encode_jpeg(const Image& image, int quality);

}  // namespace nearcell
