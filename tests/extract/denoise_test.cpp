// Noise reduction against plain implementations, and what each is for.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include <nearcell/extract/denoise.h>

#include "extract/picture_case.h"
#include "storage/scratch_dir.h"

namespace nearcell {
namespace {

uint8_t pixel(const Image& image, ptrdiff_t x, ptrdiff_t y, size_t channel) {
    const auto inside = [](ptrdiff_t at, size_t size) {
        return static_cast<size_t>(std::clamp<ptrdiff_t>(at, 0, static_cast<ptrdiff_t>(size) - 1));
    };
    return image.row(inside(y, image.height))[inside(x, image.width) * 3 + channel];
}

template <class Check>
void for_pixels(const Image& image, Check&& check) {
    for (size_t y = 0; y < image.height; ++y)
        for (size_t x = 0; x < image.width; ++x)
            for (size_t c = 0; c < 3; ++c)
                check(static_cast<ptrdiff_t>(x), static_cast<ptrdiff_t>(y), c);
}

TEST(Denoise, MedianIsThatOfNinePixels) {
    for (const auto& [width, height] : {std::pair{1, 1}, {1, 7}, {6, 1}, {2, 2}, {33, 17}}) {
        const Image image = noise_image(size_t(width), size_t(height), 4);
        const Image out = median_3x3(image);
        for_pixels(image, [&](ptrdiff_t x, ptrdiff_t y, size_t c) {
            std::array<uint8_t, 9> around{};
            for (ptrdiff_t i = 0; i < 9; ++i)
                around[size_t(i)] = pixel(image, x + i % 3 - 1, y + i / 3 - 1, c);
            std::sort(around.begin(), around.end());
            ASSERT_EQ(pixel(out, x, y, c), around[4]) << x << ", " << y;
        });
    }
}

TEST(Denoise, MedianRemovesSinglePixelsAndKeepsEdges) {
    Image image(20, 10);
    for (size_t y = 0; y < 10; ++y)
        std::fill(image.row(y) + 30, image.row(y) + 60, uint8_t{200});
    const Image clean = image;
    image.row(5)[5 * 3] = 255;
    image.row(2)[15 * 3 + 1] = 0;
    EXPECT_EQ(median_3x3(image).pixels, clean.pixels);
}

TEST(Denoise, GaussianIsNearTheExactOne) {
    for (const double sigma : {0.1, 0.5, 1.0, 2.3}) {
        const Image image = noise_image(31, 23, 6);
        const Image out = gaussian_blur(image, sigma);
        const auto radius = static_cast<ptrdiff_t>(std::ceil(3 * sigma));
        for_pixels(image, [&](ptrdiff_t x, ptrdiff_t y, size_t c) {
            double sum = 0, total = 0;
            for (ptrdiff_t dy = -radius; dy <= radius; ++dy) {
                for (ptrdiff_t dx = -radius; dx <= radius; ++dx) {
                    const double away = static_cast<double>(dx * dx + dy * dy);
                    const double weight = std::exp(-away / (2 * sigma * sigma));
                    total += weight;
                    sum += weight * pixel(image, x + dx, y + dy, c);
                }
            }
            // Two roundings of half a level, and weights of 16 bits.
            ASSERT_NEAR(pixel(out, x, y, c), sum / total, 1.1) << sigma << " " << x << ", " << y;
        });
    }
}

TEST(Denoise, GaussianKeepsEvenAreasAndCutsNoise) {
    Image even(9, 9);
    std::fill(even.pixels.begin(), even.pixels.end(), uint8_t{255});
    EXPECT_EQ(gaussian_blur(even, kMaxSigma).pixels, even.pixels);
    const auto deviation = [](const Image& image) {
        double sum = 0, squares = 0;
        for (const uint8_t value : image.pixels) {
            sum += value;
            squares += value * value;
        }
        const auto count = static_cast<double>(image.pixels.size());
        return std::sqrt(squares / count - sum / count * (sum / count));
    };
    const Image noise = noise_image(200, 200, 8);
    // White noise through a Gaussian: 1 / (2 sigma sqrt(pi)) of its deviation.
    EXPECT_NEAR(deviation(gaussian_blur(noise, 1)) / deviation(noise), 0.282, 0.02);
}

TEST(Denoise, WrongArgumentsAreTold) {
    const Image image = noise_image(3, 3, 1);
    for (const double sigma : {0.0, -1.0, 33.0, std::nan(""), double(INFINITY)}) {
        const Error error = error_of([&] { gaussian_blur(image, sigma); });
        EXPECT_EQ(error.code(), StatusCode::InvalidArgument) << sigma;
    }
    EXPECT_EQ(error_of([&] { median_3x3(Image()); }).code(), StatusCode::InvalidArgument);
}

}  // namespace
}  // namespace nearcell
