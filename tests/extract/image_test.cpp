// Decoding agrees with Pillow; whatever the bytes are, the result is an image or an Error.
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include <nearcell/extract/image.h>
#include <nearcell/extract/orientation.h>
#include <nearcell/extract/picture_bytes.h>

#include "extract/picture_case.h"
#include "storage/scratch_dir.h"

namespace nearcell {
namespace {

using Bytes = std::vector<uint8_t>;

TEST(Image, DecodesAsPillowDoes) {
    for (const PictureSample& sample : kPictureSamples) {
        const Image image = decode_image(bytes_of_hex(sample.bytes), sample.name);
        ASSERT_EQ(image.width, kSampleWidth) << sample.name;
        ASSERT_EQ(image.height, kSampleHeight) << sample.name;
        check_image(image);
        EXPECT_EQ(fnv(image.pixels), sample.hash) << sample.name;
    }
}

TEST(Image, AppliesTheOrientation) {
    for (const char* const name : {"JpegBaseline", "JpegProgressive", "JpegCmyk", "PngRgb",
                                   "PngGreyAlpha", "PngInterlaced"}) {
        const Bytes bytes = sample_bytes(name);
        const Image stored = decode_image(bytes, name);
        for (int number = 1; number <= 8; ++number) {
            const Image expected = oriented(stored, number);
            for (const bool little : {true, false}) {
                const Image image = decode_image(with_exif(bytes, exif_of(number, little)), name);
                EXPECT_EQ(image.width, number >= 5 ? kSampleHeight : kSampleWidth);
                check_image(image);
                EXPECT_EQ(image.width, expected.width);
                EXPECT_EQ(image.pixels, expected.pixels) << name << " " << number;
            }
        }
    }
}

TEST(Image, ReadsPhotographsAndRefusesBrokenOnes) {
    if (shared_file("data/images/china.jpg").empty()) GTEST_SKIP() << "no shared photographs";
    for (const PhotoSample& photo : kPhotoSamples) {
        const Image image = read_image(shared_file(std::string("data/images/") + photo.name));
        EXPECT_GT(image.width * image.height, 20000u) << photo.name;
    }
    for (const char* name : {"broken-truncated.jpg", "broken-empty.jpg", "broken-magic.png"}) {
        const std::string path = shared_file(std::string("data/images/") + name);
        const Error error = error_of([&] { read_image(path); });
        EXPECT_EQ(error.code(), StatusCode::Corrupt) << name;
        EXPECT_EQ(std::string(error.what()).rfind(path, 0), 0u) << error.what();
    }
}

TEST(Image, FilesThatAreNotThereOrTooLargeAreTold) {
    const ScratchDir dir;
    EXPECT_EQ(error_of([&] { read_image(dir.file("no.png")); }).code(), StatusCode::NotFound);
    EXPECT_EQ(error_of([&] { read_image(dir.path().string()); }).code(), StatusCode::Io);
    put_bytes(dir.file("x.png"), {1});
    std::filesystem::resize_file(dir.file("x.png"), kMaxPictureBytes + 1);  // takes no room
    const Error error = error_of([&] { read_image(dir.file("x.png")); });
    EXPECT_EQ(error.code(), StatusCode::Unsupported) << error.what();
}

// A PNG whose chunks have right checksums, of any header and data.
Bytes png_of(uint32_t width, uint32_t height, uint8_t depth, uint8_t color, const Bytes& data) {
    Bytes out{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    Bytes header;
    append_big(header, width, 4);
    append_big(header, height, 4);
    header.insert(header.end(), {depth, color, 0, 0, 0});
    append_chunk(out, "IHDR", header);
    if (color == 3) append_chunk(out, "PLTE", {1, 2, 3});
    append_chunk(out, "IDAT", data);
    append_chunk(out, "IEND", {});
    return out;
}

// zlib data of stored blocks.
Bytes stored(const Bytes& raw) {
    Bytes out{0x78, 0x01};
    for (size_t at = 0; at < raw.size() || at == 0; at += 65535) {
        const size_t count = std::min<size_t>(raw.size() - at, 65535);
        out.push_back(at + count == raw.size() ? 1 : 0);
        const auto low = static_cast<uint8_t>(count), high = static_cast<uint8_t>(count >> 8);
        out.insert(out.end(), {low, high, static_cast<uint8_t>(~low), static_cast<uint8_t>(~high)});
        out.insert(out.end(), raw.begin() + static_cast<ptrdiff_t>(at),
                   raw.begin() + static_cast<ptrdiff_t>(at + count));
    }
    out.insert(out.end(), 4, 0);  // a checksum that the decoder does not look at
    return out;
}

TEST(Image, DataThatExpandBeyondTheirHeaderAreRefused) {
    EXPECT_EQ(decode_image(png_of(1, 1, 8, 0, stored({0, 9})), "x").pixels, Bytes({9, 9, 9}));
    EXPECT_EQ(decode_image(png_of(2, 1, 8, 3, stored({0, 0, 200})), "x").pixels,
              Bytes({1, 2, 3, 0, 0, 0}));  // of a palette of one colour
    // 1 pixel is promised; a run of zeros of 32 million bytes follows: a fixed block that repeats
    // "258 bytes from one back", 13 bits (11000101 00000) at a time.
    Bytes bomb{0x78, 0x01, 0};
    size_t bit = 0;
    const auto put = [&](unsigned value) {
        if (value != 0) bomb.back() |= static_cast<uint8_t>(1u << bit);
        if (++bit == 8) {
            bomb.push_back(0);
            bit = 0;
        }
    };
    for (const char c : std::string_view("110"))  // last block, fixed codes
        put(c == '1');
    for (const char c : std::string_view("00110000"))  // one zero
        put(c == '1');
    for (int i = 0; i < 1000000; ++i)
        for (const char c : std::string_view("1100010100000"))
            put(c == '1');
    bomb.insert(bomb.end(), 16, 0);
    const Error error = error_of([&] { decode_image(png_of(1, 1, 8, 0, bomb), "bomb.png"); });
    EXPECT_EQ(error.code(), StatusCode::Corrupt);
    EXPECT_NE(std::string(error.what()).find("expand"), std::string::npos) << error.what();
}

TEST(Image, APngTooSmallForItsSizeIsRefused) {
    for (const uint8_t color : {uint8_t{0}, uint8_t{2}, uint8_t{4}, uint8_t{6}}) {
        const Error error = error_of([&] {
            decode_image(png_of(8192, 8192, 8, color, stored({0, 9})), "x.png");
        });
        EXPECT_EQ(error.code(), StatusCode::Corrupt);
        EXPECT_NE(std::string(error.what()).find("cannot hold more"), std::string::npos);
    }
}

TEST(Image, IndicesOutsideAPaletteShowNothingOfTheMemory) {
    // Indices of a palette with one colour; decoding other pictures between changes the memory.
    Bytes row{0};
    for (int i = 0; i < 256; ++i)
        row.push_back(static_cast<uint8_t>(i));
    const Bytes png = png_of(256, 1, 8, 3, stored(row));
    const Image first = decode_image(png, "x");
    EXPECT_EQ(Bytes(first.pixels.begin(), first.pixels.begin() + 3), Bytes({1, 2, 3}));
    for (const PictureSample& sample : kPictureSamples) {
        decode_image(bytes_of_hex(sample.bytes), sample.name);
        ASSERT_EQ(decode_image(png, "x").pixels, first.pixels) << sample.name;
    }
}

TEST(Image, DamageGivesAnImageOrAnError) {
    Random random(1);
    size_t images = 0, errors = 0;
    for (const PictureSample& sample : kPictureSamples) {
        const Bytes whole = bytes_of_hex(sample.bytes);
        for (int i = 0; i < 400; ++i) {
            Bytes bytes = damaged(whole, random);
            if (random.below(3) == 0 && !bytes.empty()) bytes = damaged(bytes, random);
            try {
                const Image image = decode_image(bytes, sample.name);
                check_image(image);
                ++images;
            } catch (const Error& error) {
                const std::string text = error.what();
                ASSERT_EQ(text.rfind(sample.name, 0), 0u) << text;
                ASSERT_TRUE(error.code() == StatusCode::Corrupt ||
                            error.code() == StatusCode::Unsupported)
                    << text;
                ++errors;
            }
        }
    }
    EXPECT_GT(images, 500u);
    EXPECT_GT(errors, 1000u);
}

// With right checksums damage reaches the decoder.
TEST(Image, DamagedPngDataGiveAnImageOrAnError) {
    const Bytes rgb = sample_bytes("PngRgb"), grey = sample_bytes("PngGrey");
    // The data of the one IDAT chunk, which begins at byte 33.
    const auto data_of = [](const Bytes& png) { return Bytes(png.begin() + 41, png.end() - 16); };
    Random random(2);
    size_t images = 0, errors = 0;
    for (int i = 0; i < 4000; ++i) {
        const uint8_t depths[] = {1, 2, 4, 8, 8, 16}, colors[] = {0, 0, 2, 2, 3, 4, 6};
        const bool same = random.below(2) == 0;
        const uint8_t depth = same ? 8 : depths[random.below(6)];
        const uint8_t color = same ? 2 : colors[random.below(7)];
        const auto width = static_cast<uint32_t>(same ? kSampleWidth : random.below(40) + 1);
        const Bytes data = damaged(data_of(random.below(2) == 0 ? rgb : grey), random);
        try {
            check_image(decode_image(png_of(width, 13, depth, color, data), "x"));
            ++images;
        } catch (const Error&) {
            ++errors;
        }
    }
    EXPECT_GT(images, 100u);
    EXPECT_GT(errors, 100u);
}

TEST(Image, ThreadsDecodeAtOnce) {
    std::vector<std::thread> threads;
    std::vector<int> wrong(4, 0);
    for (size_t t = 0; t < wrong.size(); ++t) {
        threads.emplace_back([&wrong, t] {
            for (int i = 0; i < 20; ++i) {
                for (const PictureSample& sample : kPictureSamples) {
                    Bytes bytes = bytes_of_hex(sample.bytes);
                    const Image image = decode_image(bytes, "x");
                    if (fnv(image.pixels) != sample.hash) ++wrong[t];
                    bytes.resize(bytes.size() / 2);
                    if (*error_of([&] { decode_image(bytes, "x"); }).what() == '\0') ++wrong[t];
                }
            }
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

}  // namespace
}  // namespace nearcell
