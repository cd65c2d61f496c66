// What is encoded is decoded again: exactly from PNG, nearly from JPEG.
#include <gtest/gtest.h>

#include <nearcell/core/error.h>
#include <nearcell/extract/image_write.h>

#include "extract/picture_case.h"
#include "storage/scratch_dir.h"

namespace nearcell {
namespace {

// Colours that change slowly, as a photograph's do.
Image smooth_image(size_t width, size_t height) {
    Image image(width, height);
    for (size_t y = 0; y < height; ++y) {
        for (size_t x = 0; x < width; ++x) {
            uint8_t* pixel = image.row(y) + x * kImageChannels;
            pixel[0] = static_cast<uint8_t>(x * 255 / width);
            pixel[1] = static_cast<uint8_t>(y * 255 / height);
            pixel[2] = 90;
        }
    }
    return image;
}

TEST(ImageWrite, PngGivesBackEveryPixel) {
    for (const size_t width : {1u, 2u, 7u, 64u, 333u}) {
        for (const size_t height : {1u, 5u, 200u}) {
            for (const Image& image :
                 {noise_image(width, height, width + height), smooth_image(width, height)}) {
                const Image back = decode_image(encode_png(image), "back.png");
                EXPECT_EQ(back.width, width);
                EXPECT_EQ(back.height, height);
                EXPECT_EQ(back.pixels, image.pixels);
            }
        }
    }
}

TEST(ImageWrite, JpegIsNearAndSmaller) {
    const Image image = smooth_image(200, 120);
    const std::vector<uint8_t> fine = encode_jpeg(image, 95), coarse = encode_jpeg(image, 30);
    EXPECT_LT(coarse.size(), fine.size());
    EXPECT_LT(fine.size(), image.pixels.size() / 4);
    const Image back = decode_image(fine, "back.jpg");
    ASSERT_EQ(back.width, image.width);
    ASSERT_EQ(back.height, image.height);
    for (size_t i = 0; i < image.pixels.size(); ++i)
        ASSERT_NEAR(back.pixels[i], image.pixels[i], 12) << i;
}

TEST(ImageWrite, TheSameImageGivesTheSameBytes) {
    const Image image = noise_image(90, 40, 3);
    EXPECT_EQ(encode_png(image), encode_png(image));
    EXPECT_EQ(encode_jpeg(image, 80), encode_jpeg(image, 80));
}

TEST(ImageWrite, RefusesWhatIsNoImage) {
    Image cut(4, 4);
    cut.pixels.pop_back();
    for (const Image& image : {Image(), Image(0, 5), cut}) {
        EXPECT_EQ(error_of([&] { encode_png(image); }).code(), StatusCode::InvalidArgument);
        EXPECT_EQ(error_of([&] { encode_jpeg(image, 80); }).code(), StatusCode::InvalidArgument);
    }
    for (const int quality : {-1, 0, 101}) {
        const Error error = error_of([&] { encode_jpeg(Image(2, 2), quality); });
        EXPECT_EQ(error.code(), StatusCode::InvalidArgument);
        EXPECT_NE(std::string(error.what()).find("1 to 100"), std::string::npos);
    }
}

}  // namespace
}  // namespace nearcell
