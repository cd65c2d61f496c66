#include <nearcell/extract/resize.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/extract/picture_bytes.h>

namespace nearcell {
namespace {

// Pillow's: 32 bits less 8 of the pixel, less 2 for sums that overshoot.
constexpr int kFractionBits = 32 - 8 - 2;
constexpr int32_t kHalf = int32_t{1} << (kFractionBits - 1);

uint8_t rounded(int32_t sum) {
    return static_cast<uint8_t>(std::clamp(sum >> kFractionBits, 0, 255));
}

// A C cast after which Pillow clamps: what is below zero becomes zero.
size_t cut(double value) { return static_cast<size_t>(std::max(value, 0.0)); }

// The weights of the outputs [first, first + count) of one direction.
struct Filter {
    struct Taps {
        size_t first;  // source position of the first weight
        size_t count;
        size_t weights;  // where they begin
    };
    std::vector<Taps> outputs;
    std::vector<int32_t> weights;

    // The order of operations is Pillow's (precompute_coeffs): other orders round differently.
    Filter(size_t in, size_t out, size_t first, size_t count) {
        const double scale = static_cast<double>(in) / static_cast<double>(out);
        const double radius = std::max(scale, 1.0);
        const double inverse = 1.0 / radius;
        std::vector<double> exact;
        for (size_t x = first; x < first + count; ++x) {
            const double center = (static_cast<double>(x) + 0.5) * scale;
            const size_t low = cut(center - radius + 0.5);
            const size_t high = std::min(cut(center + radius + 0.5), in);
            exact.clear();
            double sum = 0;
            for (size_t i = 0; i < high - low; ++i) {
                const double at = (static_cast<double>(i + low) - center + 0.5) * inverse;
                exact.push_back(std::max(1.0 - std::abs(at), 0.0));
                sum += exact.back();
            }
            outputs.push_back({low, high - low, weights.size()});
            for (double weight : exact) {
                if (sum != 0) weight /= sum;
                weights.push_back(static_cast<int32_t>(cut(weight * (1 << kFractionBits) + 0.5)));
            }
        }
    }
    // The source range that all outputs together read.
    size_t begin() const { return outputs.front().first; }
    size_t end() const {
        size_t end = 0;
        for (const Taps& taps : outputs)
            end = std::max(end, taps.first + taps.count);
        return end;
    }
};

// Rows [first, first + out.height) of the image, filtered along themselves.
void filter_rows(const Image& image, size_t first, const Filter& filter, Image& out) {
    for (size_t y = 0; y < out.height; ++y) {
        const uint8_t* from = image.row(first + y);
        uint8_t* to = out.row(y);
        for (const Filter::Taps& taps : filter.outputs) {
            const uint8_t* pixel = from + taps.first * kImageChannels;
            const int32_t* weight = filter.weights.data() + taps.weights;
            int32_t red = kHalf, green = kHalf, blue = kHalf;
            for (size_t i = 0; i < taps.count; ++i, pixel += kImageChannels) {
                red += weight[i] * pixel[0];
                green += weight[i] * pixel[1];
                blue += weight[i] * pixel[2];
            }
            to[0] = rounded(red);
            to[1] = rounded(green);
            to[2] = rounded(blue);
            to += kImageChannels;
        }
    }
}

// Source row r is row r - first of `rows`.
void filter_columns(const Image& rows, size_t first, const Filter& filter, Image& out) {
    const size_t values = out.width * kImageChannels;
    std::vector<int32_t> sums(values);
    for (size_t y = 0; y < out.height; ++y) {
        const Filter::Taps& taps = filter.outputs[y];
        std::fill(sums.begin(), sums.end(), kHalf);
        for (size_t i = 0; i < taps.count; ++i) {
            const uint8_t* from = rows.row(taps.first + i - first);
            const int32_t weight = filter.weights[taps.weights + i];
            for (size_t x = 0; x < values; ++x)
                sums[x] += weight * from[x];
        }
        uint8_t* to = out.row(y);
        for (size_t x = 0; x < values; ++x)
            to[x] = rounded(sums[x]);
    }
}

Image copied(const Image& image, const ImageWindow& part) {
    Image out(part.width, part.height);
    for (size_t y = 0; y < part.height; ++y) {
        std::memcpy(out.row(y), image.row(part.top + y) + part.left * kImageChannels,
                    part.width * kImageChannels);
    }
    return out;
}

void check_part(ImageSize size, const ImageWindow& part) {
    constexpr size_t kMost = std::numeric_limits<int32_t>::max();
    check(size.width > 0 && size.height > 0 && size.width <= kMost && size.height <= kMost,
          StatusCode::InvalidArgument, "size ", size.width, " x ", size.height,
          " must have sides of 1 to ", kMost, " pixels");
    check(part.width > 0 && part.height > 0 && part.left < size.width && part.top < size.height &&
              part.width <= size.width - part.left && part.height <= size.height - part.top,
          StatusCode::InvalidArgument, "part of ", part.width, " x ", part.height, " pixels at ",
          part.left, ", ", part.top, " must be inside ", size.width, " x ", size.height);
    check(part.width <= kMaxPictureSide && part.height <= kMaxPictureSide &&
              part.width * part.height <= kMaxPicturePixels,
          StatusCode::InvalidArgument, "result of ", part.width, " x ", part.height,
          " pixels: at most ", kMaxPicturePixels, " in all and ", kMaxPictureSide,
          " a side; ask for less");
}

}  // namespace

Image resize(const Image& image, ImageSize size) {
    return resize_part(image, size, {0, 0, size.width, size.height});
}

Image resize_part(const Image& image, ImageSize size, const ImageWindow& part) {
    check_image(image);
    check_part(size, part);
    const bool same_width = size.width == image.width, same_height = size.height == image.height;
    if (same_width && same_height) return copied(image, part);
    const Filter vertical(image.height, size.height, part.top, part.height);
    const size_t first = same_height ? part.top : vertical.begin();
    const size_t count = same_height ? part.height : vertical.end() - first;
    Image rows;
    if (same_width) {
        rows = copied(image, {part.left, first, part.width, count});
    } else {
        rows = Image(part.width, count);
        filter_rows(image, first, Filter(image.width, size.width, part.left, part.width), rows);
    }
    if (same_height) return rows;
    Image out(part.width, part.height);
    filter_columns(rows, first, vertical, out);
    return out;
}

ImageSize shorter_side_size(ImageSize from, size_t side) {
    check(from.width > 0 && from.height > 0 && side > 0 && side <= kMaxPictureSide,
          StatusCode::InvalidArgument, "side = ", side, " of an image of ", from.width, " x ",
          from.height, ": must be 1 to ", kMaxPictureSide, " and the image not empty");
    check(from.width <= kMaxPictureSide && from.height <= kMaxPictureSide,
          StatusCode::InvalidArgument, "image of ", from.width, " x ", from.height,
          " pixels: at most ", kMaxPictureSide, " a side; make it smaller first");
    if (from.width <= from.height) return {side, side * from.height / from.width};
    return {side * from.width / from.height, side};
}

Image resize_shorter_side(const Image& image, size_t side) {
    check_image(image);
    return resize(image, shorter_side_size({image.width, image.height}, side));
}

ImageWindow centre_window(ImageSize from, ImageSize crop) {
    check(
        crop.width > 0 && crop.height > 0 && crop.width <= from.width && crop.height <= from.height,
        StatusCode::InvalidArgument, "crop of ", crop.width, " x ", crop.height,
        " pixels must be inside ", from.width, " x ", from.height,
        "; resize to something larger first, or crop less");
    // Python's round() of halves: 0.5 to 0, 1.5 to 2, 2.5 to 2.
    const auto start = [](size_t margin) { return margin / 2 + (margin % 4 == 3 ? 1 : 0); };
    return {start(from.width - crop.width), start(from.height - crop.height), crop.width,
            crop.height};
}

Image centre_crop(const Image& image, ImageSize crop) {
    check_image(image);
    return copied(image, centre_window({image.width, image.height}, crop));
}

}  // namespace nearcell
