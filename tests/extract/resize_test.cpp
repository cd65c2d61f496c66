// Resizing and cropping give Pillow's and torchvision's pixels, every bit.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include <nearcell/extract/resize.h>

#include "extract/picture_case.h"
#include "storage/scratch_dir.h"

namespace nearcell {
namespace {

TEST(Resize, GivesPillowsPixels) {
    uint64_t seed = 0;
    for (const ResizeSample& sample : kResizeSamples) {
        const Image image = noise_image(sample.width, sample.height, seed++);
        const Image out = resize(image, {sample.to_width, sample.to_height});
        ASSERT_EQ(out.width, sample.to_width);
        ASSERT_EQ(out.height, sample.to_height);
        EXPECT_EQ(fnv(out.pixels), sample.hash)
            << sample.width << " x " << sample.height << " to " << out.width << " x " << out.height;
    }
}

TEST(Resize, GivesTorchvisionsCrops) {
    for (const CropSample& sample : kCropSamples) {
        const Image image = noise_image(sample.width, sample.height, 99);
        const Image whole = resize_shorter_side(image, sample.side);
        const Image out = centre_crop(whole, {sample.crop, sample.crop});
        EXPECT_EQ(fnv(out.pixels), sample.hash) << sample.width << " x " << sample.height;
    }
}

TEST(Resize, APartIsThatPartOfTheWhole) {
    Random random(5);
    for (int i = 0; i < 200; ++i) {
        const Image image = noise_image(random.below(60) + 1, random.below(60) + 1, random.next());
        ImageSize size{random.below(80) + 1, random.below(80) + 1};
        if (i % 4 == 0) size.width = image.width;
        if (i % 3 == 0) size.height = image.height;
        const Image whole = resize(image, size);
        ImageWindow part;
        part.left = random.below(size.width);
        part.top = random.below(size.height);
        part.width = random.below(size.width - part.left) + 1;
        part.height = random.below(size.height - part.top) + 1;
        const Image out = resize_part(image, size, part);
        ASSERT_EQ(out.pixels.size(), part.width * part.height * 3);
        for (size_t y = 0; y < part.height; ++y) {
            ASSERT_EQ(
                std::memcmp(out.row(y), whole.row(part.top + y) + part.left * 3, part.width * 3),
                0);
        }
    }
}

// From the file on, pixel for pixel.
TEST(Resize, PhotographsBecomeTheReferencesInputs) {
    if (shared_file("data/images/china.jpg").empty()) GTEST_SKIP() << "no shared photographs";
    for (const PhotoSample& photo : kPhotoSamples) {
        const std::string name = photo.name;
        const Image out = resize(read_image(shared_file("data/images/" + name)), {224, 224});
        EXPECT_EQ(fnv(out.pixels), photo.hash) << name;
    }
}

TEST(Resize, SidesFollowTorchvision) {
    const auto sides = [](size_t width, size_t height, size_t side) {
        const ImageSize size = shorter_side_size({width, height}, side);
        return std::pair(size.width, size.height);
    };
    EXPECT_EQ(sides(640, 427, 256), std::pair(size_t{383}, size_t{256}));
    EXPECT_EQ(sides(427, 640, 256), std::pair(size_t{256}, size_t{383}));
    EXPECT_EQ(sides(7, 7, 256), std::pair(size_t{256}, size_t{256}));
    EXPECT_EQ(sides(1, 65535, 256), std::pair(size_t{256}, size_t{16776960}));
    // A half is rounded to even: margins of 1, 3, 5 and 7 pixels.
    const size_t lefts[] = {0, 2, 2, 4};
    for (size_t i = 0; i < 4; ++i)
        EXPECT_EQ(centre_window({11 + 2 * i, 10}, {10, 10}).left, lefts[i]);
}

TEST(Resize, AVeryLongPictureCostsOnlyWhatIsAskedFor) {
    const Image image = noise_image(1, 65535, 3);
    const ImageSize whole = shorter_side_size({1, 65535}, 256);
    const Image out = resize_part(image, whole, centre_window(whole, {224, 224}));
    EXPECT_EQ(out.pixels.size(), size_t{224} * 224 * 3);
}

TEST(Resize, WrongArgumentsAreTold) {
    const Image image = noise_image(8, 6, 1);
    const auto code = [](auto&& call) { return error_of(call).code(); };
    constexpr StatusCode kWrong = StatusCode::InvalidArgument;
    EXPECT_EQ(code([&] { resize(Image(), {1, 1}); }), kWrong);
    EXPECT_EQ(code([&] { resize(image, {0, 1}); }), kWrong);
    EXPECT_EQ(code([&] { resize(image, {size_t{1} << 40, 1}); }), kWrong);
    EXPECT_EQ(code([&] { resize(image, {20000, 20000}); }), kWrong);
    EXPECT_EQ(code([&] { resize_part(image, {8, 6}, {8, 0, 1, 1}); }), kWrong);
    EXPECT_EQ(code([&] { resize_part(image, {8, 6}, {1, 0, 8, 1}); }), kWrong);
    EXPECT_EQ(code([&] { resize_part(image, {8, 6}, {0, 0, 0, 1}); }), kWrong);
    EXPECT_EQ(code([&] { resize_part(image, {8, 6}, {0, 1, 1, ~size_t{0}}); }), kWrong);
    EXPECT_EQ(code([&] { resize_shorter_side(image, 0); }), kWrong);
    EXPECT_EQ(code([&] { centre_crop(image, {9, 1}); }), kWrong);
    EXPECT_EQ(code([&] { centre_crop(image, {0, 1}); }), kWrong);
    Image torn = image;
    torn.pixels.pop_back();
    EXPECT_EQ(code([&] { resize(torn, {4, 4}); }), kWrong);
}

}  // namespace
}  // namespace nearcell
