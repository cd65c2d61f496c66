// All eight orientations on pictures of any shape; whatever the bytes of EXIF are, a number from 1
// to 8. That both are what Pillow does is in tests/python/test_extract.py.
#include <gtest/gtest.h>

#include <nearcell/extract/orientation.h>

#include "extract/picture_case.h"

namespace nearcell {
namespace {

using Bytes = std::vector<uint8_t>;

// A row of letters a row of pixels.
Image image_of(const std::vector<std::string>& rows) {
    Image image(rows[0].size(), rows.size());
    for (size_t y = 0; y < rows.size(); ++y) {
        for (size_t x = 0; x < rows[y].size(); ++x) {
            const auto letter = static_cast<uint8_t>(rows[y][x]);
            uint8_t* pixel = image.row(y) + x * kImageChannels;
            pixel[0] = letter;
            pixel[1] = static_cast<uint8_t>(letter + 100);
            pixel[2] = static_cast<uint8_t>(255 - letter);
        }
    }
    return image;
}

void expect_same(const Image& image, const Image& expected) {
    EXPECT_EQ(image.width, expected.width);
    EXPECT_EQ(image.height, expected.height);
    EXPECT_EQ(image.pixels, expected.pixels);
}

TEST(Orientation, ShowsThePictureAsExifSays) {
    const std::vector<std::string> shown[] = {
        {"abc", "def"},      // as it is
        {"cba", "fed"},      // mirrored
        {"fed", "cba"},      // turned by half
        {"def", "abc"},      // upside down, mirrored
        {"ad", "be", "cf"},  // rows are columns
        {"da", "eb", "fc"},  // turned right by a quarter
        {"fc", "eb", "da"},  // rows are columns, from the last
        {"cf", "be", "ad"},  // turned left by a quarter
    };
    for (int number = 1; number <= 8; ++number) {
        SCOPED_TRACE(number);
        expect_same(oriented(image_of(shown[0]), number), image_of(shown[number - 1]));
    }
}

TEST(Orientation, EveryShapeIsTurnedWhole) {
    const std::pair<size_t, size_t> shapes[] = {{1, 1},   {1, 70},  {70, 1},  {31, 33},
                                                {32, 64}, {65, 32}, {100, 37}};
    for (const auto& [width, height] : shapes) {
        SCOPED_TRACE(testing::Message() << width << " x " << height);
        const Image image = noise_image(width, height, 5);
        for (const int number : {2, 3, 4, 5, 7})
            expect_same(oriented(oriented(image, number), number), image);
        expect_same(oriented(oriented(image, 6), 8), image);
        expect_same(oriented(oriented(image, 6), 6), oriented(image, 3));
        expect_same(oriented(oriented(image, 5), 2), oriented(image, 6));
        expect_same(oriented(oriented(image, 5), 3), oriented(image, 7));
        expect_same(oriented(oriented(image, 2), 3), oriented(image, 4));
    }
}

Bytes changed(Bytes bytes, size_t at, const Bytes& with) {
    std::copy(with.begin(), with.end(), bytes.begin() + static_cast<ptrdiff_t>(at));
    return bytes;
}

TEST(Orientation, IsReadInBothByteOrders) {
    for (int number = 0; number <= 255; ++number) {
        const int expected = number >= 1 && number <= 8 ? number : 1;
        EXPECT_EQ(exif_orientation(exif_of(number, true)), expected);
        EXPECT_EQ(exif_orientation(exif_of(number, false)), expected);
    }
    // A list that is not behind the header.
    Bytes far = changed(exif_of(6, true), 4, {0, 1});
    far.resize(256, 0x12);
    const Bytes near = exif_of(8, true);
    far.insert(far.end(), near.begin() + 8, near.end());
    EXPECT_EQ(exif_orientation(far), 8);
}

TEST(Orientation, ExifThatIsDamagedTellsNone) {
    const Bytes little = exif_of(6, true), big = exif_of(6, false);
    for (size_t size = 0; size < 32; ++size) {
        // Of their own memory, so that a sanitizer sees a read past the end.
        const auto part = static_cast<ptrdiff_t>(size);
        EXPECT_EQ(exif_orientation(Bytes(little.begin(), little.begin() + part)), 1) << size;
        EXPECT_EQ(exif_orientation(Bytes(big.begin(), big.begin() + part)), 1) << size;
    }
    const std::vector<std::pair<size_t, Bytes>> damages = {
        {0, {'M'}}, {0, {'M', 'M'}}, {2, {43}},   {4, {9}},    {4, {0xff, 0xff, 0xff, 0xff}},
        {4, {34}},  {4, {38}},       {8, {0, 0}}, {8, {1, 0}}, {24, {4}},
        {26, {2}},  {26, {0}},       {31, {1}},   {30, {0}}};
    for (const auto& [at, with] : damages)
        EXPECT_EQ(exif_orientation(changed(little, at, with)), 1) << "byte " << at;
    // A count of more entries than there are.
    EXPECT_EQ(exif_orientation(changed(little, 8, {0xff, 0xff})), 6);
    EXPECT_EQ(exif_orientation(changed(changed(little, 8, {0xff, 0xff}), 22, {0})), 1);
}

TEST(Orientation, AnyBytesTellOneOfEight) {
    Random random(3);
    size_t turned = 0;
    for (int i = 0; i < 20000; ++i) {
        const int number = exif_orientation(damaged(exif_of(6, i % 2 == 0), random));
        ASSERT_GE(number, 1);
        ASSERT_LE(number, 8);
        turned += number != 1;
    }
    EXPECT_GT(turned, 2000u);
    EXPECT_LT(turned, 18000u);
}

}  // namespace
}  // namespace nearcell
