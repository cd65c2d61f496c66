// Preprocess: what a network wants of a picture before it looks at it, as plain values, and the
// functions that do it: reduce noise, resize, turn pixels into floats. Take a preset by the name of
// the model; features of a network fed otherwise are not those of its reference.
//
// Noise is reduced in the picture as decoded, before it is resized: resizing spreads a wrong pixel
// over its neighbours, and no median finds it there afterwards. So sigma is in source pixels.
// Cost: that of resize.h and denoise.h, and a pass over the resized picture. Thread safe.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string_view>

#include <nearcell/extract/image.h>
#include <nearcell/extract/resize.h>

namespace nearcell {

enum class Fit {
    Stretch,            // to the size, whatever the shape was
    ShorterSideAndCrop  // the shorter side to `shorter_side`, then the centre of the size
};

enum class Denoise { None, Median3x3, Gaussian };

struct Preprocess {
    ImageSize size{224, 224};
    Fit fit = Fit::Stretch;
    size_t shorter_side = 256;  // for ShorterSideAndCrop: at least both sides of `size`
    // A pixel p becomes (p / unit - mean) / scale, in single precision and in this order.
    float unit = 1;
    std::array<float, kImageChannels> mean{};
    std::array<float, kImageChannels> scale{1, 1, 1};
    Denoise denoise = Denoise::None;
    double sigma = 1;  // for Gaussian

    size_t values() const { return size.width * size.height * kImageChannels; }
};

// "efficientnet-lite0", "resnet" or "vgg16"; throws InvalidArgument for another name.
Preprocess preprocess_preset(std::string_view model);

// Sets noise reduction by its name, "none", "median" or "gaussian", the last with a sigma or that
// of `how`. Throws InvalidArgument for another name, for a sigma of another kind or out of range.
void set_denoise(Preprocess& how, std::string_view name, std::optional<double> sigma);

// Throws InvalidArgument naming the field that is out of range.
void check_preprocess(const Preprocess& how);

// The picture after noise reduction and resizing, of how.size.
Image fitted_image(const Image& image, const Preprocess& how);

// Both steps: planes of red, green and blue, each row by row, into how.values() floats. Throws
// InvalidArgument when `planes` has another size.
void preprocess(const Image& image, const Preprocess& how, std::span<float> planes);

// The second step alone, for a picture that has how.size already.
void image_to_planes(const Image& image, const Preprocess& how, std::span<float> planes);

}  // namespace nearcell
