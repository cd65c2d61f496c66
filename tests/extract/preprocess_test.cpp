// What networks are fed: presets, the order of steps, and the floats.
#include <gtest/gtest.h>

#include <cmath>

#include <nearcell/extract/denoise.h>
#include <nearcell/extract/preprocess.h>

#include "extract/picture_case.h"
#include "storage/scratch_dir.h"

namespace nearcell {
namespace {

std::vector<float> floats_of(const Image& image, const Preprocess& how) {
    std::vector<float> planes(how.values(), NAN);
    preprocess(image, how, planes);
    return planes;
}

TEST(Preprocess, EfficientNetLiteStretches) {
    const Preprocess how = preprocess_preset("efficientnet-lite0");
    const Image image = noise_image(300, 200, 1);
    const std::vector<float> planes = floats_of(image, how);
    const Image small = resize(image, {224, 224});
    ASSERT_EQ(planes.size(), size_t{3} * 224 * 224);
    for (size_t y = 0; y < 224; ++y) {
        for (size_t x = 0; x < 224; ++x) {
            for (size_t c = 0; c < 3; ++c) {
                const float level = small.row(y)[x * 3 + c];
                ASSERT_EQ(planes[(c * 224 + y) * 224 + x], (level - 127.0f) / 128.0f);
            }
        }
    }
}

TEST(Preprocess, TorchvisionsNetworksCropTheCentre) {
    for (const char* model : {"resnet", "vgg16"}) {
        const Preprocess how = preprocess_preset(model);
        const Image image = noise_image(301, 420, 2);
        const std::vector<float> planes = floats_of(image, how);
        const Image small = centre_crop(resize_shorter_side(image, 256), {224, 224});
        EXPECT_EQ(fitted_image(image, how).pixels, small.pixels);
        const float mean[] = {0.485f, 0.456f, 0.406f}, deviation[] = {0.229f, 0.224f, 0.225f};
        for (size_t i = 0; i < 224 * 224; ++i) {
            for (size_t c = 0; c < 3; ++c) {
                const float level = small.pixels[i * 3 + c];
                ASSERT_EQ(planes[c * 224 * 224 + i], (level / 255.0f - mean[c]) / deviation[c]);
            }
        }
    }
}

TEST(Preprocess, NoiseIsReducedBeforeResizing) {
    const Image image = noise_image(90, 70, 3);
    Preprocess how;
    how.size = {20, 30};
    how.denoise = Denoise::Median3x3;
    EXPECT_EQ(fitted_image(image, how).pixels, resize(median_3x3(image), how.size).pixels);
    how.denoise = Denoise::Gaussian;
    how.sigma = 1.5;
    EXPECT_EQ(fitted_image(image, how).pixels, resize(gaussian_blur(image, 1.5), how.size).pixels);
}

TEST(Preprocess, WrongArgumentsAreTold) {
    const Image image = noise_image(30, 30, 3);
    const auto told = [&](auto&& change, const std::string& word) {
        Preprocess how = preprocess_preset("resnet");
        change(how);
        const Error error = error_of([&] { fitted_image(image, how); });
        EXPECT_EQ(error.code(), StatusCode::InvalidArgument) << word;
        EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    };
    told([](Preprocess& how) { how.size.width = 0; }, "size");
    told([](Preprocess& how) { how.size = {60000, 60000}; }, "size");
    told([](Preprocess& how) { how.shorter_side = 223; }, "shorter_side");
    told([](Preprocess& how) { how.unit = 0; }, "unit");
    told([](Preprocess& how) { how.scale[1] = 0; }, "scale[1]");
    told([](Preprocess& how) { how.mean[2] = NAN; }, "mean[2]");
    told([](Preprocess& how) { how.denoise = Denoise::Gaussian, how.sigma = 0; }, "sigma");
    EXPECT_EQ(error_of([] { preprocess_preset("alexnet"); }).code(), StatusCode::InvalidArgument);
    std::vector<float> few(10);
    const Preprocess how;
    EXPECT_EQ(error_of([&] { preprocess(image, how, few); }).code(), StatusCode::InvalidArgument);
    std::vector<float> planes(how.values());
    EXPECT_EQ(error_of([&] { image_to_planes(image, how, planes); }).code(),
              StatusCode::InvalidArgument);
}

TEST(Preprocess, NoiseReductionHasNames) {
    Preprocess how = preprocess_preset("resnet");
    set_denoise(how, "median", {});
    EXPECT_EQ(how.denoise, Denoise::Median3x3);
    set_denoise(how, "gaussian", 2.5);
    EXPECT_EQ(how.denoise, Denoise::Gaussian);
    EXPECT_EQ(how.sigma, 2.5);
    const auto refuses = [&](const char* name, std::optional<double> sigma, const char* words) {
        const Error error = error_of([&] { set_denoise(how, name, sigma); });
        EXPECT_EQ(error.code(), StatusCode::InvalidArgument);
        EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
        EXPECT_EQ(how.sigma, 2.5);
    };
    refuses("blur", {}, "median");
    refuses("median", 1.0, "sigma");
    refuses("gaussian", 0.0, "sigma = 0");
    refuses("gaussian", 1e9, "pixels");
    set_denoise(how, "none", {});
    EXPECT_EQ(how.denoise, Denoise::None);
}

}  // namespace
}  // namespace nearcell
