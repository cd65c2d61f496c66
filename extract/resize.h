// Resizing and cropping as Pillow and torchvision do it, bit for bit: reference models were trained
// on, and are compared with, their pixels. The filter is Pillow's BILINEAR: a triangle of radius
// max(1, in / out) source pixels around half-pixel centres, weights of 22 fractional bits, first
// along rows, rounded to 8 bits, then along columns. (Pillow 13 takes the columns first of some
// pictures, of 203 x 301 to 224 x 224 as well: a level of difference in some pixels. Published
// features are of the versions before, and so is this.) Only the part of the result that
// is asked for is computed, from the rows that it needs. Cost: about two source pixels read for
// each one there is. Pure; thread safe.
#pragma once

#include <cstddef>

#include <nearcell/extract/image.h>

namespace nearcell {

struct ImageSize {
    size_t width = 0;
    size_t height = 0;
};

struct ImageWindow {
    size_t left = 0;
    size_t top = 0;
    size_t width = 0;
    size_t height = 0;
};

// The whole result, or the part of a result of size `size` that `part` names. Throws
// InvalidArgument for an empty image or size, a side above 2^31 - 1, a part that is not inside, or
// one above the limits of check_image.
Image resize(const Image& image, ImageSize size);
Image resize_part(const Image& image, ImageSize size, const ImageWindow& part);

// torchvision's Resize(side): the shorter side becomes `side`, the other floor(side x long /
// short).
ImageSize shorter_side_size(ImageSize from, size_t side);
Image resize_shorter_side(const Image& image, size_t side);

// torchvision's CenterCrop. Half a pixel is rounded to the even one. Throws InvalidArgument when
// the crop is larger than what it is taken from (torchvision would pad with black).
ImageWindow centre_window(ImageSize from, ImageSize crop);
Image centre_crop(const Image& image, ImageSize crop);

}  // namespace nearcell
