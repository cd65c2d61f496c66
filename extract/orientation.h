// Orientation: how the stored pixels of a picture are turned to show it upright. A phone stores
// what its sensor saw, lying mostly, and says so in EXIF: a number from 1, as it is, to 8. 2 to 4
// are mirrored or turned upside down, 5 to 8 have width and height exchanged. Pure; thread safe.
#pragma once

#include <cstdint>
#include <span>

#include <nearcell/extract/image.h>

namespace nearcell {

// The orientation that an EXIF block tells, which begins with its byte order; 1 where it tells
// none, tells nonsense, or is damaged. Cost: at most one pass over it.
int exif_orientation(std::span<const uint8_t> exif);

// The picture as it is to be shown. Cost: nothing for 1; else one pass, and a second picture.
Image oriented(Image image, int orientation);

}  // namespace nearcell
