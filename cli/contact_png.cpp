#include "contact_png.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <nearcell/core/error.h>
#include <nearcell/extract/picture_bytes.h>
#include <nearcell/extract/resize.h>

namespace nearcell::cli {
namespace {

using Colour = std::array<uint8_t, kImageChannels>;
constexpr Colour kPage{255, 255, 255}, kBox{240, 240, 236}, kText{29, 31, 33}, kSoft{120, 124, 130},
    kRule{220, 220, 214}, kMark{36, 99, 201};

constexpr size_t kMargin = 24, kGap = 12, kLabel = 26, kFrame = 4, kDot = 2, kMostInLine = 12;
constexpr size_t kCellWidth = kThumbnailSide + kGap;
constexpr size_t kCellHeight = kThumbnailSide + kLabel;
constexpr size_t kQueryWidth = kCellWidth + 2 * kGap;

// What numbers are made of: seven rows of five dots.
constexpr size_t kGlyphColumns = 5, kGlyphRows = 7;
struct Glyph {
    char sign;
    std::array<uint8_t, kGlyphRows> rows;
};
constexpr Glyph kGlyphs[] = {
    {'0', {0b01110, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b01110}},
    {'1', {0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110}},
    {'2', {0b01110, 0b10001, 0b00001, 0b00010, 0b00100, 0b01000, 0b11111}},
    {'3', {0b11110, 0b00001, 0b00001, 0b01110, 0b00001, 0b00001, 0b11110}},
    {'4', {0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010}},
    {'5', {0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110}},
    {'6', {0b01110, 0b10000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110}},
    {'7', {0b11111, 0b00001, 0b00010, 0b00100, 0b00100, 0b01000, 0b01000}},
    {'8', {0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110}},
    {'9', {0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00001, 0b01110}},
    {'.', {0, 0, 0, 0, 0, 0b01100, 0b01100}},
    {'-', {0, 0, 0, 0b01110, 0, 0, 0}},
    {'+', {0, 0b00100, 0b00100, 0b11111, 0b00100, 0b00100, 0}},
    {'e', {0, 0, 0b01110, 0b10001, 0b11111, 0b10000, 0b01110}},
};

void fill(Image& image, const ImageWindow& where, const Colour& colour) {
    for (size_t y = where.top; y < where.top + where.height; ++y) {
        uint8_t* to = image.row(y) + where.left * kImageChannels;
        for (size_t x = 0; x < where.width; ++x, to += kImageChannels)
            std::copy(colour.begin(), colour.end(), to);
    }
}

size_t text_width(std::string_view text) {
    return text.empty() ? 0 : (text.size() * (kGlyphColumns + 1) - 1) * kDot;
}

void draw_text(Image& image, size_t left, size_t top, std::string_view text, const Colour& colour) {
    for (const char sign : text) {
        for (const Glyph& glyph : kGlyphs) {
            if (glyph.sign != sign) continue;
            for (size_t y = 0; y < kGlyphRows; ++y) {
                for (size_t x = 0; x < kGlyphColumns; ++x) {
                    if ((glyph.rows[y] >> (kGlyphColumns - 1 - x) & 1) == 0) continue;
                    fill(image, {left + x * kDot, top + y * kDot, kDot, kDot}, colour);
                }
            }
        }
        left += (kGlyphColumns + 1) * kDot;
    }
}

// In the middle of a square.
void draw_thumbnail(Image& image, size_t left, size_t top, const SheetPicture& picture) {
    fill(image, {left, top, kThumbnailSide, kThumbnailSide}, kBox);
    const Image small = decode_image(picture.thumbnail.jpeg, picture.path);
    left += (kThumbnailSide - small.width) / 2;
    top += (kThumbnailSide - small.height) / 2;
    for (size_t y = 0; y < small.height; ++y) {
        std::copy_n(small.row(y), small.width * kImageChannels,
                    image.row(top + y) + left * kImageChannels);
    }
}

struct Layout {
    size_t in_line = 0, lines = 0;  // of the neighbours of a query
    size_t width = 0, query_height = 0, height = 0;
};

Layout layout_of(size_t queries, size_t neighbors) {
    Layout layout;
    layout.lines = std::max<size_t>(1, (neighbors + kMostInLine - 1) / kMostInLine);
    layout.in_line = (neighbors + layout.lines - 1) / layout.lines;
    layout.width = 2 * kMargin - kGap + kQueryWidth + layout.in_line * kCellWidth;
    layout.query_height = layout.lines * (kCellHeight + kGap) + kGap;
    layout.height = 2 * kMargin - 2 * kGap + queries * layout.query_height;
    return layout;
}

void draw_query(Image& image, size_t top, const ContactSheet& sheet, const SheetQuery& query,
                const Layout& layout) {
    fill(image,
         {kMargin - kFrame, top - kFrame, kThumbnailSide + 2 * kFrame, kThumbnailSide + 2 * kFrame},
         kMark);
    draw_thumbnail(image, kMargin, top, sheet.pictures[query.picture]);
    for (size_t i = 0; i < query.neighbors.size(); ++i) {
        const SheetNeighbor& neighbor = query.neighbors[i];
        const size_t left = kMargin + kQueryWidth + i % layout.in_line * kCellWidth;
        const size_t y = top + i / layout.in_line * (kCellHeight + kGap);
        draw_thumbnail(image, left, y, sheet.pictures[neighbor.picture]);
        const size_t text_top = y + kThumbnailSide + (kLabel - kGlyphRows * kDot) / 2;
        draw_text(image, left, text_top, std::to_string(i + 1), kSoft);
        const size_t width = std::min(text_width(neighbor.score), kThumbnailSide);
        draw_text(image, left + kThumbnailSide - width, text_top, neighbor.score, kText);
    }
}

}  // namespace

void check_png_size(size_t queries, size_t neighbors) {
    check_sheet_size(queries, neighbors);
    const Layout layout = layout_of(queries, neighbors);
    check(layout.height <= kMaxPictureSide && layout.width * layout.height <= kMaxPicturePixels,
          StatusCode::InvalidArgument, "--png: ", queries, " queries with ", neighbors,
          " neighbours make a picture of ", layout.width, " x ", layout.height, " pixels, at most ",
          kMaxPicturePixels, " in all and ", kMaxPictureSide,
          " a side; ask with fewer --query or --sample, for a smaller -n, or for --html");
}

Image contact_png(const ContactSheet& sheet) {
    size_t most = 0;
    for (const SheetQuery& query : sheet.queries)
        most = std::max(most, query.neighbors.size());
    check_png_size(sheet.queries.size(), most);
    const Layout layout = layout_of(sheet.queries.size(), most);
    Image image(layout.width, layout.height);
    fill(image, {0, 0, layout.width, layout.height}, kPage);
    for (size_t q = 0; q < sheet.queries.size(); ++q) {
        const size_t top = kMargin + q * layout.query_height;
        if (q > 0) fill(image, {kMargin, top - kGap, layout.width - 2 * kMargin, 1}, kRule);
        draw_query(image, top, sheet, sheet.queries[q], layout);
    }
    return image;
}

}  // namespace nearcell::cli
