#include <nearcell/extract/picture_bytes.h>

#include <algorithm>
#include <array>
#include <cstring>

#include <nearcell/core/error.h>
#include <nearcell/extract/orientation.h>

namespace nearcell {
namespace {

constexpr const char* kGetItAgain = "; get the file again, or leave it out";
constexpr const char* kSaveAgain = "; save it as PNG or as an ordinary JPEG with another program";

// The bytes of one file, read by position; a read past the end throws.
class Reader {
   public:
    Reader(std::span<const uint8_t> bytes, std::string_view name) : bytes_(bytes), name_(name) {}

    size_t size() const { return bytes_.size(); }
    const uint8_t* at(size_t offset, size_t count) const {
        if (offset > size() || count > size() - offset) truncated();
        return bytes_.data() + offset;
    }
    uint32_t big(size_t offset, size_t count) const {
        const uint8_t* from = at(offset, count);
        uint32_t value = 0;
        for (size_t i = 0; i < count; ++i)
            value = value << 8 | from[i];
        return value;
    }
    uint32_t little(size_t offset, size_t count) const {
        const uint8_t* from = at(offset, count);
        uint32_t value = 0;
        for (size_t i = count; i-- > 0;)
            value = value << 8 | from[i];
        return value;
    }
    [[noreturn]] void truncated() const {
        throw_error(StatusCode::Corrupt, name_, ": the picture is truncated after ", size(),
                    " bytes", kGetItAgain);
    }
    template <class... Parts>
    void require(bool holds, const Parts&... parts) const {
        check(holds, StatusCode::Corrupt, name_, ": ", parts..., kGetItAgain);
    }
    template <class... Parts>
    void support(bool holds, const Parts&... parts) const {
        check(holds, StatusCode::Unsupported, name_, ": ", parts..., kSaveAgain);
    }
    PictureInfo info(PictureFormat format, size_t width, size_t height) const {
        require(width > 0 && height > 0, "its header says ", width, " x ", height, " pixels");
        check(width <= kMaxPictureSide && height <= kMaxPictureSide &&
                  width * height <= kMaxPicturePixels,
              StatusCode::Unsupported, name_, ": has ", width, " x ", height, " pixels, at most ",
              kMaxPicturePixels, " in all and ", kMaxPictureSide,
              " a side are read; make it smaller first");
        return {format, width, height};
    }
    // Memory is taken by the size that the header says: the data must bear it out.
    void fit(const PictureInfo& info, size_t most_pixels) const {
        require(info.width * info.height <= most_pixels, "its header says ", info.width, " x ",
                info.height, " pixels, but its data cannot hold more than ", most_pixels);
    }

   private:
    std::span<const uint8_t> bytes_;
    std::string_view name_;
};

// ---- JPEG: segments of a marker and a length; after the start of a scan, coded data up to the
// next marker. In that data a byte of 255 is followed by 0, or by a restart marker.

// Each block of 8 x 8 values has at least one bit in the scans of their means. Channels may be kept
// in a quarter of the width or of the height, but never all of them in a quarter of both.
constexpr size_t kMostJpegPixelsAByte = 64 * 8 * 4;

struct JpegFrame {
    bool found = false;
    size_t width = 0, height = 0;
    uint32_t components = 0;
};

// What an EXIF segment begins with, two zeros included.
constexpr std::string_view kExif("Exif\0\0", 6);

constexpr bool is_restart(uint8_t code) { return code >= 0xd0 && code <= 0xd7; }

// Where the next marker's code is, from `at`; in coded data only markers that end it count.
size_t next_marker(const Reader& reader, size_t at, bool coded) {
    for (;;) {
        if (at >= reader.size()) reader.truncated();
        const uint8_t* from = reader.at(at, reader.size() - at);
        const void* found = std::memchr(from, 0xff, reader.size() - at);
        if (found == nullptr) reader.truncated();
        at += static_cast<size_t>(static_cast<const uint8_t*>(found) - from);
        while (*reader.at(at, 1) == 0xff)
            ++at;
        const uint8_t code = *reader.at(at, 1);
        if (code != 0 && !(coded && is_restart(code))) return at;
    }
}

void read_frame(const Reader& reader, uint8_t code, size_t body, size_t bytes, JpegFrame& frame) {
    reader.require(!frame.found && bytes >= 6, "a broken JPEG file: its frame header");
    reader.support(code <= 0xc2, "a JPEG of frame type ", code - 0xc0,
                   " (lossless or arithmetic coding)");
    const uint32_t precision = reader.big(body, 1);
    reader.support(precision == 8, "a JPEG of ", precision, " bits a channel, 8 are read");
    frame.found = true;
    frame.height = reader.big(body + 1, 2);
    frame.width = reader.big(body + 3, 2);
    frame.components = reader.big(body + 5, 1);
    const uint32_t n = frame.components;
    reader.support(n == 1 || n == 3 || n == 4, "a JPEG of ", n, " channels");
}

PictureInfo inspect_jpeg(const Reader& reader) {
    JpegFrame frame;
    bool adobe = false, coded = false;
    int orientation = 0;
    size_t scans = 0, at = 2;
    for (;;) {
        at = next_marker(reader, at, coded);
        const auto code = static_cast<uint8_t>(reader.big(at, 1));
        ++at;
        coded = false;
        if (code == 0xd9) break;                                         // end of the picture
        if (code == 0x01 || code == 0xd8 || is_restart(code)) continue;  // markers without length
        const size_t length = reader.big(at, 2);
        reader.require(length >= 2, "a broken JPEG file: a segment of length ", length);
        reader.at(at, length);
        const size_t body = at + 2;
        at += length;
        if (code >= 0xc0 && code <= 0xcf && code != 0xc4 && code != 0xc8 && code != 0xcc) {
            read_frame(reader, code, body, length - 2, frame);
        } else if (code == 0xee && length >= 14) {
            adobe = adobe || std::memcmp(reader.at(body, 6), "Adobe", 6) == 0;
        } else if (code == 0xe1 && length >= 2 + kExif.size() && orientation == 0 && scans == 0) {
            const uint8_t* from = reader.at(body, length - 2);
            if (std::memcmp(from, kExif.data(), kExif.size()) == 0)
                orientation = exif_orientation({from + kExif.size(), length - 2 - kExif.size()});
        } else if (code == 0xda) {
            reader.require(frame.found, "a broken JPEG file: a scan before the frame header");
            ++scans;
            reader.support(scans <= kMaxJpegScans, "a JPEG of more than ", kMaxJpegScans, " scans");
            coded = true;
        }
    }
    reader.require(scans > 0, "a broken JPEG file: it ends before its first scan");
    // Four channels are CMYK, inverted or as YCCK, and only Adobe's segment says which.
    reader.support(frame.components != 4 || adobe, "a CMYK JPEG that does not say how");
    PictureInfo info = reader.info(PictureFormat::Jpeg, frame.width, frame.height);
    info.orientation = std::max(orientation, 1);
    reader.support(scans <= kMaxScannedPixels / (info.width * info.height), "a JPEG of ", scans,
                   " scans of ", info.width, " x ", info.height, " pixels, at most ",
                   kMaxScannedPixels, " in all scans");
    reader.fit(info, reader.size() * kMostJpegPixelsAByte);
    return info;
}

// ---- PNG: chunks of length, type, data and checksum.

constexpr std::array<uint32_t, 256> kCrcTable = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t i = 0; i < 256; ++i) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; ++bit)
            value = (value >> 1) ^ ((value & 1u) != 0 ? 0xedb88320u : 0u);
        table[i] = value;
    }
    return table;
}();

uint32_t crc32(const uint8_t* data, size_t bytes) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < bytes; ++i)
        crc = (crc >> 8) ^ kCrcTable[(crc ^ data[i]) & 0xffu];
    return ~crc;
}

constexpr uint32_t tag(const char (&text)[5]) {
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i)
        value = value << 8 | static_cast<uint8_t>(text[i]);
    return value;
}

// Deflate packs at most 258 bytes into two bits.
constexpr size_t kMostPngPacking = 258 * 4;

size_t bits_a_pixel(const Reader& reader, size_t body) {
    constexpr size_t kChannels[] = {1, 0, 3, 1, 2, 0, 4};
    return reader.big(body + 8, 1) * kChannels[reader.big(body + 9, 1)];
}

void check_png_kind(const Reader& reader, size_t body) {
    const uint32_t depth = reader.big(body + 8, 1), color = reader.big(body + 9, 1);
    const bool small = depth == 1 || depth == 2 || depth == 4;
    const bool known = (color == 0 && (small || depth == 8 || depth == 16)) ||
                       (color == 3 && (small || depth == 8)) ||
                       ((color == 2 || color == 4 || color == 6) && (depth == 8 || depth == 16));
    reader.require(known, "a broken PNG file: colour type ", color, " of ", depth, " bits");
}

PictureInfo inspect_png(const Reader& reader) {
    PictureInfo info;
    bool data = false;
    size_t data_bytes = 0;
    for (size_t at = 8;;) {
        const size_t length = reader.big(at, 4);
        const uint32_t type = reader.big(at + 4, 4);
        const uint8_t* chunk = reader.at(at + 4, length + 8);
        // A capital first letter: the picture cannot be read without it. The other two change
        // pixels, too.
        const bool critical = (type & 0x20000000u) == 0;
        if (critical || type == tag("tRNS") || type == tag("eXIf")) {
            reader.require(crc32(chunk, length + 4) == reader.big(at + 8 + length, 4),
                           "a damaged PNG file: the checksum of the chunk at byte ", at,
                           " is wrong");
        }
        if (at == 8) {
            reader.require(type == tag("IHDR") && length == 13,
                           "a broken PNG file: it does not begin with its header chunk");
            info = reader.info(PictureFormat::Png, reader.big(16, 4), reader.big(20, 4));
            check_png_kind(reader, 16);
        } else {
            reader.support(
                !critical || type == tag("PLTE") || type == tag("IDAT") || type == tag("IEND"),
                "a PNG with an unknown chunk at byte ", at);
        }
        // stb would copy the nothing of an empty first one to a null pointer.
        reader.support(data || type != tag("IDAT") || length > 0,
                       "a PNG whose first data chunk is empty");
        if (type == tag("IDAT")) {
            data = true;
            data_bytes += length;
        }
        if (type == tag("eXIf")) info.orientation = exif_orientation({chunk + 4, length});
        at += length + 12;
        if (type == tag("IEND")) break;
    }
    reader.require(data, "a broken PNG file: it has no picture data");
    reader.fit(info, data_bytes * kMostPngPacking * 8 / bits_a_pixel(reader, 16));
    return info;
}

// ---- BMP: a header, perhaps a palette, rows of pixels from the last to the first.

PictureInfo inspect_bmp(const Reader& reader) {
    const size_t start = reader.little(10, 4), header = reader.little(14, 4);
    reader.support(header >= 40, "a BMP of OS/2 (a header of ", header, " bytes)");
    const auto width = static_cast<int32_t>(reader.little(18, 4));
    const auto height = static_cast<int32_t>(reader.little(22, 4));
    const size_t bits = reader.little(28, 2), packing = reader.little(30, 4);
    reader.require(width > 0 && height != 0, "a broken BMP file: a size of ", width, " x ", height);
    reader.support(packing == 0 || packing == 3, "a compressed BMP (method ", packing, ")");
    reader.require(bits == 1 || bits == 4 || bits == 8 || bits == 16 || bits == 24 || bits == 32,
                   "a broken BMP file: ", bits, " bits a pixel");
    reader.require(start >= 14 + header, "a broken BMP file: its pixels start at byte ", start);
    const int64_t rows = std::abs(static_cast<int64_t>(height));  // negative: from first to last
    const PictureInfo info =
        reader.info(PictureFormat::Bmp, static_cast<size_t>(width), static_cast<size_t>(rows));
    const size_t row_bytes = (info.width * bits + 31) / 32 * 4;
    reader.at(start, row_bytes * info.height);
    return info;
}

}  // namespace

PictureInfo inspect_picture(std::span<const uint8_t> bytes, std::string_view name) {
    const Reader reader(bytes, name);
    reader.require(!bytes.empty(), "is empty, not a picture");
    check(bytes.size() <= kMaxPictureBytes, StatusCode::Unsupported, name, ": has ", bytes.size(),
          " bytes, at most ", kMaxPictureBytes, " are read; make the picture smaller first");
    const auto begins = [&](std::string_view magic) {
        return bytes.size() >= magic.size() &&
               std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
    };
    if (begins("\xff\xd8\xff")) return inspect_jpeg(reader);
    if (begins("\x89PNG\r\n\x1a\n")) return inspect_png(reader);
    if (begins("BM")) return inspect_bmp(reader);
    throw_error(StatusCode::Corrupt, name,
                ": is not a JPEG, PNG or BMP picture; convert it to one of these, or leave it out");
}

}  // namespace nearcell
