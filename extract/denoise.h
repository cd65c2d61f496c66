// Noise reduction of 8-bit pictures. The median removes single wrong pixels (salt and pepper, dead
// pixels of a sensor) and keeps edges; the Gaussian evens out grain, edges too. Both work on each
// channel alone; beyond the border its pixels go on. Cost a value: some 20 comparisons for the
// median; for the Gaussian about 12 sigma multiply-adds. Pure; thread safe.
#pragma once

#include <nearcell/extract/image.h>

namespace nearcell {

constexpr double kMinSigma = 0.1;
constexpr double kMaxSigma = 32;

Image median_3x3(const Image& image);

// A Gaussian of standard deviation `sigma` pixels, cut off after ceil(3 sigma) pixels; weights of
// 16 fractional bits whose sum is one, rounded to 8 bits after each direction. Throws
// InvalidArgument for a sigma that is not in kMinSigma to kMaxSigma.
Image gaussian_blur(const Image& image, double sigma);

}  // namespace nearcell
