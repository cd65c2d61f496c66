// decode_image: JPEG by libjpeg, PNG and BMP by stb. Seeds are the samples of the picture tests,
// some with an EXIF orientation.
#include <nearcell/extract/image.h>

#include "extract/picture_case.h"
#include "fuzz_target.h"

namespace nearcell::fuzz {
namespace {

constexpr char kPngStart[] = "\x89PNG\r\n\x1a\n";
constexpr size_t kPngStartBytes = 8;

uint32_t big(const uint8_t* bytes) {
    return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}

}  // namespace

std::vector<Bytes> seeds() {
    std::vector<Bytes> pictures;
    for (const PictureSample& sample : kPictureSamples)
        pictures.push_back(bytes_of_hex(sample.bytes));
    for (const char* const name : {"JpegFull", "PngRgb"}) {
        pictures.push_back(with_exif(sample_bytes(name), exif_of(6, true)));
        pictures.push_back(with_exif(sample_bytes(name), exif_of(7, false)));
    }
    return pictures;
}

// The checksum of each chunk of a PNG.
void repair(Bytes& bytes) {
    if (bytes.size() < kPngStartBytes ||
        !std::equal(bytes.begin(), bytes.begin() + kPngStartBytes, kPngStart)) {
        return;
    }
    for (size_t at = kPngStartBytes; bytes.size() - at >= 12;) {
        const size_t length = big(bytes.data() + at);
        if (length > bytes.size() - at - 12) return;
        const uint32_t sum = crc32(bytes.data() + at + 4, length + 4);
        for (size_t i = 0; i < 4; ++i)
            bytes[at + 8 + length + i] = static_cast<uint8_t>(sum >> (24 - 8 * i));
        at += length + 12;
    }
}

}  // namespace nearcell::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace nearcell;
    fuzz::read([&] { check_image(decode_image({data, size}, "input")); });
    return 0;
}
