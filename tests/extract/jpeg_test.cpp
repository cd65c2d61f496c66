// What libjpeg is asked for and what is made of its failures; that its pixels are Pillow's is in
// image_test.cpp.
#include <gtest/gtest.h>

#include <algorithm>

#include <nearcell/core/error.h>
#include <nearcell/extract/jpeg.h>

#include "extract/picture_case.h"
#include "storage/scratch_dir.h"

namespace nearcell {
namespace {

using Bytes = std::vector<uint8_t>;

Image decoded(const Bytes& bytes) {
    return decode_jpeg(bytes, inspect_picture(bytes, "x.jpg"), "x.jpg");
}

// Where the coded data of the only scan begins.
size_t data_begin(const Bytes& jpeg) {
    for (size_t at = 2;;) {
        const size_t length = jpeg[at + 2] * 256u + jpeg[at + 3];
        if (jpeg[at + 1] == 0xda) return at + 2 + length;
        at += 2 + length;
    }
}

TEST(Jpeg, DataThatEndEarlyAreCorrupt) {
    const Bytes good = sample_bytes("JpegBaseline");
    Bytes bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(data_begin(good) + 20));
    bytes.insert(bytes.end(), {0xff, 0xd9});  // libjpeg would go on with grey
    const Error error = error_of([&] { decoded(bytes); });
    EXPECT_EQ(error.code(), StatusCode::Corrupt);
    EXPECT_EQ(std::string(error.what()).rfind("x.jpg: a broken picture (Corrupt JPEG data", 0), 0u)
        << error.what();
}

TEST(Jpeg, ASizeOtherThanTheInspectedIsCorrupt) {
    const Bytes good = sample_bytes("JpegGrey");
    PictureInfo info = inspect_picture(good, "x.jpg");
    ++info.width;
    EXPECT_EQ(error_of([&] { decode_jpeg(good, info, "x.jpg"); }).code(), StatusCode::Corrupt);
}

// A code table that counts more codes than there are: libjpeg's own check.
TEST(Jpeg, BrokenTablesAreCorrupt) {
    Bytes bytes = sample_bytes("JpegBaseline");
    for (size_t at = 2; bytes[at + 1] != 0xda; at += 2u + bytes[at + 2] * 256u + bytes[at + 3]) {
        if (bytes[at + 1] == 0xc4)
            std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(at) + 5, 16, 255);
    }
    EXPECT_EQ(error_of([&] { decoded(bytes); }).code(), StatusCode::Corrupt);
}

TEST(Jpeg, BytesBetweenSegmentsDoNoHarm) {
    const Bytes good = sample_bytes("JpegBaseline");
    Bytes bytes = good;
    const ptrdiff_t first_end = 4 + good[4] * 256 + good[5];
    bytes.insert(bytes.begin() + first_end, {0, 0, 7});
    EXPECT_EQ(decoded(bytes).pixels, decoded(good).pixels);
}

}  // namespace
}  // namespace nearcell
