// What is said of a picture before it is decoded: sizes, formats, and everything that is refused.
#include <gtest/gtest.h>

#include <nearcell/extract/picture_bytes.h>

#include "extract/picture_case.h"
#include "storage/scratch_dir.h"

namespace nearcell {
namespace {

using Bytes = std::vector<uint8_t>;

// What is wrong, checked to name the file and a remedy.
Error refusal(const Bytes& bytes) {
    const Error error = error_of([&] { inspect_picture(bytes, "a/b.jpg"); });
    const std::string text = error.what();
    EXPECT_EQ(text.rfind("a/b.jpg: ", 0), 0u) << text;
    EXPECT_NE(text.find("; "), std::string::npos) << text;
    return error;
}

void expect_refused(const Bytes& bytes, StatusCode code, const std::string& words) {
    const Error error = refusal(bytes);
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
}

Bytes changed(Bytes bytes, size_t at, const Bytes& with) {
    std::copy(with.begin(), with.end(), bytes.begin() + static_cast<ptrdiff_t>(at));
    return bytes;
}

size_t find(const Bytes& bytes, const Bytes& what) {
    const auto at = std::search(bytes.begin(), bytes.end(), what.begin(), what.end());
    EXPECT_NE(at, bytes.end());
    return static_cast<size_t>(at - bytes.begin());
}

TEST(PictureBytes, SaysFormatAndSize) {
    for (const PictureSample& sample : kPictureSamples) {
        const PictureInfo info = inspect_picture(bytes_of_hex(sample.bytes), sample.name);
        EXPECT_EQ(info.width, kSampleWidth) << sample.name;
        EXPECT_EQ(info.height, kSampleHeight) << sample.name;
        const PictureFormat expected = sample.name[0] == 'J'   ? PictureFormat::Jpeg
                                       : sample.name[0] == 'P' ? PictureFormat::Png
                                                               : PictureFormat::Bmp;
        EXPECT_EQ(info.format, expected) << sample.name;
    }
}

TEST(PictureBytes, EveryTruncationIsRefused) {
    for (const PictureSample& sample : kPictureSamples) {
        const Bytes whole = bytes_of_hex(sample.bytes);
        for (size_t size = 0; size < whole.size(); ++size) {
            const Bytes part(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
            ASSERT_EQ(refusal(part).code(), StatusCode::Corrupt) << sample.name << " " << size;
        }
    }
}

TEST(PictureBytes, BytesAfterThePictureAreAllowed) {
    for (const PictureSample& sample : kPictureSamples) {
        Bytes bytes = bytes_of_hex(sample.bytes);
        bytes.resize(bytes.size() + 100, 7);
        EXPECT_EQ(inspect_picture(bytes, sample.name).width, kSampleWidth);
    }
}

TEST(PictureBytes, WhatIsNoPictureIsRefused) {
    expect_refused({}, StatusCode::Corrupt, "is empty");
    expect_refused({'G', 'I', 'F', '8', '9', 'a'}, StatusCode::Corrupt, "not a JPEG, PNG or BMP");
    expect_refused(Bytes(5000, 0), StatusCode::Corrupt, "not a JPEG, PNG or BMP");
}

TEST(PictureBytes, JpegKindsThatAreNotDecodedAreTold) {
    const Bytes good = sample_bytes("JpegBaseline");
    const size_t frame = find(good, {0xff, 0xc0, 0x00, 0x11});
    expect_refused(changed(good, frame + 1, {0xc9}), StatusCode::Unsupported, "frame type 9");
    expect_refused(changed(good, frame + 4, {12}), StatusCode::Unsupported, "12 bits");
    expect_refused(changed(good, frame + 9, {2}), StatusCode::Unsupported, "2 channels");
    expect_refused(changed(good, frame + 5, {0, 0}), StatusCode::Corrupt, "22 x 0 pixels");
    expect_refused(changed(good, frame + 5, {0xff, 0xff, 0xff, 0xff}), StatusCode::Unsupported,
                   "65535 x 65535 pixels, at most 67108864");
    const Bytes cmyk = sample_bytes("JpegCmyk");
    EXPECT_EQ(inspect_picture(cmyk, "x").width, kSampleWidth);
    expect_refused(changed(cmyk, find(cmyk, {'A', 'd', 'o', 'b', 'e'}), {'a'}),
                   StatusCode::Unsupported, "CMYK");
}

TEST(PictureBytes, JpegPartsInTheWrongOrderAreRefused) {
    const Bytes good = sample_bytes("JpegBaseline");
    const size_t frame = find(good, {0xff, 0xc0}), scan = find(good, {0xff, 0xda});
    expect_refused(changed(good, frame + 1, {0xe5}), StatusCode::Corrupt, "before the frame");
    expect_refused(changed(good, frame + 2, {0, 1}), StatusCode::Corrupt, "of length 1");
    expect_refused(changed(good, scan, {0xff, 0xd9}), StatusCode::Corrupt, "before its first scan");
    Bytes twice = good;
    twice.insert(twice.begin() + static_cast<ptrdiff_t>(frame),
                 good.begin() + static_cast<ptrdiff_t>(frame),
                 good.begin() + static_cast<ptrdiff_t>(frame) + 19);
    expect_refused(twice, StatusCode::Corrupt, "frame header");
}

TEST(PictureBytes, AJpegOfVeryManyScansIsRefused) {
    const Bytes good = sample_bytes("JpegProgressive");
    const auto scan = static_cast<ptrdiff_t>(find(good, {0xff, 0xda}));
    Bytes many(good.begin(), good.begin() + scan);
    for (size_t i = 0; i <= kMaxJpegScans; ++i)
        many.insert(many.end(), {0xff, 0xda, 0, 8, 1, 1, 0, 0, 0, 0, 0});
    many.insert(many.end(), {0xff, 0xd9});
    expect_refused(many, StatusCode::Unsupported, "more than 200 scans");
    // 100 scans of few pixels are read, of 64 million not.
    many.resize(many.size() - 2 - 101 * 11);
    many.insert(many.end(), {0xff, 0xd9});
    EXPECT_EQ(inspect_picture(many, "x").width, kSampleWidth);
    many = changed(many, find(many, {0xff, 0xc2}) + 5, {0x20, 0, 0x20, 0});
    expect_refused(many, StatusCode::Unsupported, "100 scans of 8192 x 8192");
}

TEST(PictureBytes, AJpegTooSmallForItsSizeIsRefused) {
    for (const char* const name : {"JpegBaseline", "JpegProgressive", "JpegGrey", "JpegCmyk"}) {
        const Bytes good = sample_bytes(name);
        const uint8_t type = std::string_view(name) == "JpegProgressive" ? 0xc2 : 0xc0;
        const size_t frame = find(good, {0xff, type});
        expect_refused(changed(good, frame + 5, {0x20, 0, 0x20, 0}), StatusCode::Corrupt,
                       "8192 x 8192 pixels, but its data cannot hold more than");
        EXPECT_EQ(inspect_picture(changed(good, frame + 5, {2, 0, 2, 0}), name).width, 512u);
    }
}

TEST(PictureBytes, PngChunksAreVerified) {
    const Bytes good = sample_bytes("PngRgb");
    for (size_t at = 12; at < good.size(); ++at) {
        Bytes bad = good;
        bad[at] ^= 4;
        const Error error = refusal(bad);
        EXPECT_TRUE(error.code() == StatusCode::Corrupt || error.code() == StatusCode::Unsupported)
            << at << ": " << error.what();
    }
    expect_refused(changed(good, 45, {0x11}), StatusCode::Corrupt, "at byte 33 is wrong");
    const Bytes end{0, 0, 0, 0, 'I', 'E', 'N', 'D', 0xae, 0x42, 0x60, 0x82};
    Bytes empty(good.begin(), good.begin() + 33);
    empty.insert(empty.end(), end.begin(), end.end());
    expect_refused(empty, StatusCode::Corrupt, "no picture data");
    Bytes headless(good.begin(), good.begin() + 8);
    headless.insert(headless.end(), end.begin(), end.end());
    expect_refused(headless, StatusCode::Corrupt, "does not begin with its header");
}

TEST(PictureBytes, SaysTheOrientation) {
    const Bytes jpeg = sample_bytes("JpegBaseline"), png = sample_bytes("PngRgb");
    const auto orientation = [](const Bytes& bytes) {
        return inspect_picture(bytes, "x").orientation;
    };
    for (int number = 1; number <= 8; ++number) {
        for (const bool little : {true, false}) {
            EXPECT_EQ(orientation(with_exif(jpeg, exif_of(number, little))), number);
            EXPECT_EQ(orientation(with_exif(png, exif_of(number, little))), number);
        }
    }
    const PictureInfo info = inspect_picture(with_exif(jpeg, exif_of(6, true)), "x");
    EXPECT_EQ(info.width, kSampleWidth);  // as stored
    EXPECT_EQ(orientation(jpeg), 1);
    EXPECT_EQ(orientation(with_exif(jpeg, exif_of(9, true))), 1);
    EXPECT_EQ(orientation(with_exif(jpeg, {})), 1);
    EXPECT_EQ(orientation(with_exif(png, {})), 1);
    // The first segment of EXIF counts, though it tells none; others do not matter.
    EXPECT_EQ(orientation(with_exif(with_exif(jpeg, exif_of(6, true)), {'I', 'I'})), 1);
    Bytes other = with_exif(with_exif(jpeg, exif_of(6, true)), exif_of(3, true));
    EXPECT_EQ(orientation(other), 3);
    EXPECT_EQ(orientation(changed(other, find(other, {'E', 'x'}), {'e'})), 6);
}

// The last byte that a JPEG's segment may be read to is its own, and so is a PNG's chunk's.
TEST(PictureBytes, ExifEndsWithItsSegment) {
    const Bytes whole = exif_of(6, true);
    for (size_t size = 0; size < 32; ++size) {
        const auto cut = whole.begin() + static_cast<ptrdiff_t>(size);
        const Bytes part(whole.begin(), cut);
        for (const char* const name : {"JpegBaseline", "PngRgb"}) {
            Bytes bytes = with_exif(sample_bytes(name), part);
            EXPECT_EQ(inspect_picture(bytes, name).orientation, 1) << name << " " << size;
        }
    }
}

TEST(PictureBytes, ADamagedOrientationOfAPngIsRefused) {
    const Bytes good = with_exif(sample_bytes("PngRgb"), exif_of(6, true));
    const size_t at = find(good, {'e', 'X', 'I', 'f'});
    expect_refused(changed(good, at + 4 + 30, {3}), StatusCode::Corrupt, "at byte 33 is wrong");
}

TEST(PictureBytes, BmpKindsThatAreNotDecodedAreTold) {
    const Bytes good = sample_bytes("BmpRgb");
    expect_refused(changed(good, 14, {12}), StatusCode::Unsupported, "OS/2");
    expect_refused(changed(good, 30, {1}), StatusCode::Unsupported, "compressed");
    expect_refused(changed(good, 28, {5}), StatusCode::Corrupt, "5 bits");
    expect_refused(changed(good, 10, {20}), StatusCode::Corrupt, "start at byte 20");
    expect_refused(changed(good, 18, {0xff, 0xff, 0xff, 0xff}), StatusCode::Corrupt, "-1 x 13");
    expect_refused(changed(good, 22, {0, 0, 0, 0x80}), StatusCode::Unsupported, "at most");
    expect_refused(changed(good, 22, {14}), StatusCode::Corrupt, "truncated");
    EXPECT_EQ(inspect_picture(changed(good, 22, {0xf3, 0xff, 0xff, 0xff}), "x").height, 13u);
}

}  // namespace
}  // namespace nearcell
