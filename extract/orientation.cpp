#include <nearcell/extract/orientation.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

namespace nearcell {
namespace {

// EXIF is a TIFF file without pixels: a header that tells the byte order and where the first list
// of entries is. Past the end there are zeros, which are no orientation.
class Tiff {
   public:
    explicit Tiff(std::span<const uint8_t> bytes)
        : bytes_(bytes), little_(!bytes.empty() && bytes[0] == 'I') {}

    uint32_t number(size_t offset, size_t count) const {
        if (offset > bytes_.size() || count > bytes_.size() - offset) return 0;
        uint32_t value = 0;
        for (size_t i = 0; i < count; ++i)
            value = value << 8 | bytes_[offset + (little_ ? count - 1 - i : i)];
        return value;
    }
    bool has_header() const {
        return bytes_.size() >= 8 && number(2, 2) == 42 &&
               std::memcmp(bytes_.data(), little_ ? "II" : "MM", 2) == 0;
    }
    size_t size() const { return bytes_.size(); }

   private:
    std::span<const uint8_t> bytes_;
    bool little_;
};

constexpr size_t kEntryBytes = 12;
constexpr uint32_t kOrientation = 0x0112, kShort = 3;

// Rows that are written side by side: a line of the cache holds some twenty pixels of a row that is
// read, which become a column.
constexpr size_t kRowsAtOnce = 32;

}  // namespace

int exif_orientation(std::span<const uint8_t> exif) {
    const Tiff tiff(exif);
    if (!tiff.has_header()) return 1;
    size_t at = tiff.number(4, 4);
    uint32_t entries = tiff.number(at, 2);
    for (at += 2; entries > 0 && at < tiff.size(); --entries, at += kEntryBytes) {
        if (tiff.number(at, 2) != kOrientation) continue;
        const uint32_t value = tiff.number(at + 8, 2);
        const bool is_one = tiff.number(at + 2, 2) == kShort && tiff.number(at + 4, 4) == 1;
        return is_one && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
    }
    return 1;
}

Image oriented(Image image, int orientation) {
    if (orientation == 1) return image;
    const bool exchanged = orientation >= 5;
    const bool from_right = orientation == 2 || orientation == 3 || orientation >= 7;
    const bool from_bottom =
        orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    const size_t width = image.width, height = image.height;
    Image shown(exchanged ? height : width, exchanged ? width : height);
    // The stored pixel of the first that is shown, and the steps to those right of it and below.
    const uint8_t* first =
        image.row(from_bottom ? height - 1 : 0) + (from_right ? width - 1 : 0) * kImageChannels;
    const auto pixel = static_cast<ptrdiff_t>(kImageChannels);
    ptrdiff_t right = from_right ? -pixel : pixel;
    ptrdiff_t down = (from_bottom ? -pixel : pixel) * static_cast<ptrdiff_t>(width);
    if (exchanged) std::swap(right, down);
    for (size_t top = 0; top < shown.height; top += kRowsAtOnce) {
        const size_t bottom = std::min(top + kRowsAtOnce, shown.height);
        for (size_t x = 0; x < shown.width; ++x) {
            for (size_t y = top; y < bottom; ++y) {
                std::memcpy(
                    shown.row(y) + x * kImageChannels,
                    first + static_cast<ptrdiff_t>(x) * right + static_cast<ptrdiff_t>(y) * down,
                    kImageChannels);
            }
        }
    }
    return shown;
}

}  // namespace nearcell
