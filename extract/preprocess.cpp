#include <nearcell/extract/preprocess.h>

#include <cmath>

#include <nearcell/core/error.h>
#include <nearcell/extract/denoise.h>
#include <nearcell/extract/picture_bytes.h>

namespace nearcell {

Preprocess preprocess_preset(std::string_view model) {
    Preprocess how;
    if (model == "efficientnet-lite0") {
        how.mean = {127, 127, 127};
        how.scale = {128, 128, 128};
        return how;
    }
    check(model == "resnet" || model == "vgg16", StatusCode::InvalidArgument, "model \"", model,
          "\" has no preset; there are efficientnet-lite0, resnet and vgg16");
    // torchvision's, of all its networks trained on ImageNet.
    how.fit = Fit::ShorterSideAndCrop;
    how.unit = 255;
    how.mean = {0.485f, 0.456f, 0.406f};
    how.scale = {0.229f, 0.224f, 0.225f};
    return how;
}

void set_denoise(Preprocess& how, std::string_view name, std::optional<double> sigma) {
    check(name == "none" || name == "median" || name == "gaussian", StatusCode::InvalidArgument,
          "denoise = \"", name, "\" is not known: use none, median or gaussian");
    check(!sigma || name == "gaussian", StatusCode::InvalidArgument,
          "sigma is of denoise gaussian, not of ", name, "; leave it out");
    Preprocess changed = how;
    changed.denoise = name == "median"     ? Denoise::Median3x3
                      : name == "gaussian" ? Denoise::Gaussian
                                           : Denoise::None;
    changed.sigma = sigma.value_or(how.sigma);
    check_preprocess(changed);
    how = changed;
}

void check_preprocess(const Preprocess& how) {
    const ImageSize size = how.size;
    check(size.width > 0 && size.height > 0 && size.width <= kMaxPictureSide &&
              size.height <= kMaxPictureSide && size.width * size.height <= kMaxPicturePixels,
          StatusCode::InvalidArgument, "size = ", size.width, " x ", size.height,
          " must have sides of 1 to ", kMaxPictureSide, " and at most ", kMaxPicturePixels,
          " pixels");
    check(how.fit == Fit::Stretch ||
              (how.shorter_side >= size.width && how.shorter_side >= size.height &&
               how.shorter_side <= kMaxPictureSide),
          StatusCode::InvalidArgument, "shorter_side = ", how.shorter_side,
          " must be at least both sides of size = ", size.width, " x ", size.height,
          " and at most ", kMaxPictureSide);
    check(std::isnormal(how.unit), StatusCode::InvalidArgument, "unit = ", how.unit,
          " must be finite and not zero");
    for (size_t c = 0; c < kImageChannels; ++c) {
        check(std::isfinite(how.mean[c]) && std::isnormal(how.scale[c]),
              StatusCode::InvalidArgument, "mean[", c, "] = ", how.mean[c], " and scale[", c,
              "] = ", how.scale[c], " must be finite, and the scale not zero");
    }
    check(how.denoise != Denoise::Gaussian || (how.sigma >= kMinSigma && how.sigma <= kMaxSigma),
          StatusCode::InvalidArgument, "sigma = ", how.sigma, " must be ", kMinSigma, " to ",
          kMaxSigma, " pixels");
}

Image fitted_image(const Image& image, const Preprocess& how) {
    check_preprocess(how);
    check_image(image);
    Image clean;
    if (how.denoise == Denoise::Median3x3) clean = median_3x3(image);
    if (how.denoise == Denoise::Gaussian) clean = gaussian_blur(image, how.sigma);
    const Image& from = how.denoise == Denoise::None ? image : clean;
    if (how.fit == Fit::Stretch) return resize(from, how.size);
    const ImageSize whole = shorter_side_size({from.width, from.height}, how.shorter_side);
    return resize_part(from, whole, centre_window(whole, how.size));
}

void image_to_planes(const Image& image, const Preprocess& how, std::span<float> planes) {
    check_preprocess(how);
    check_image(image);
    check(image.width == how.size.width && image.height == how.size.height,
          StatusCode::InvalidArgument, "image of ", image.width, " x ", image.height,
          " pixels must be of size ", how.size.width, " x ", how.size.height, "; resize it first");
    check(planes.size() == how.values(), StatusCode::InvalidArgument, "planes has ", planes.size(),
          " floats, must have ", how.values());
    const size_t pixels = image.width * image.height;
    for (size_t c = 0; c < kImageChannels; ++c) {
        std::array<float, 256> value{};
        for (size_t level = 0; level < value.size(); ++level) {
            value[level] = (static_cast<float>(level) / how.unit - how.mean[c]) / how.scale[c];
        }
        float* to = planes.data() + c * pixels;
        const uint8_t* from = image.pixels.data() + c;
        for (size_t i = 0; i < pixels; ++i)
            to[i] = value[from[i * kImageChannels]];
    }
}

void preprocess(const Image& image, const Preprocess& how, std::span<float> planes) {
    check_preprocess(how);
    check(planes.size() == how.values(), StatusCode::InvalidArgument, "planes has ", planes.size(),
          " floats, must have ", how.values());
    image_to_planes(fitted_image(image, how), how, planes);
}

}  // namespace nearcell
