#include <nearcell/extract/denoise.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include <nearcell/core/error.h>

namespace nearcell {
namespace {

constexpr int kFractionBits = 16;

// Row y, or the nearest there is.
const uint8_t* clamped_row(const Image& image, ptrdiff_t y) {
    const auto last = static_cast<ptrdiff_t>(image.height) - 1;
    return image.row(static_cast<size_t>(std::clamp<ptrdiff_t>(y, 0, last)));
}

// `row`, with `margin` copies of its first pixel before it and of its last one after it.
void extend(const uint8_t* row, size_t width, size_t margin, std::vector<uint8_t>& out) {
    out.resize((width + 2 * margin) * kImageChannels);
    uint8_t* to = out.data();
    for (size_t i = 0; i < margin; ++i, to += kImageChannels)
        std::memcpy(to, row, kImageChannels);
    std::memcpy(to, row, width * kImageChannels);
    to += width * kImageChannels;
    for (size_t i = 0; i < margin; ++i, to += kImageChannels)
        std::memcpy(to, row + (width - 1) * kImageChannels, kImageChannels);
}

uint8_t lower(uint8_t a, uint8_t b) { return a < b ? a : b; }
uint8_t upper(uint8_t a, uint8_t b) { return a < b ? b : a; }
uint8_t median(uint8_t a, uint8_t b, uint8_t c) {
    return upper(lower(a, b), lower(upper(a, b), c));
}

// Three rows of `values` bytes, each column of three sorted. (Without __restrict every byte written
// might be one of those read, and nothing is vectorised.)
void sort_columns(const uint8_t* __restrict a, const uint8_t* __restrict b,
                  const uint8_t* __restrict c, size_t values, uint8_t* __restrict low,
                  uint8_t* __restrict mid, uint8_t* __restrict high) {
    for (size_t x = 0; x < values; ++x) {
        low[x] = lower(lower(a[x], b[x]), c[x]);
        mid[x] = median(a[x], b[x], c[x]);
        high[x] = upper(upper(a[x], b[x]), c[x]);
    }
}

// The median of three sorted columns: that of the largest low, the median mid and the smallest
// high.
void median_of_columns(const uint8_t* __restrict low, const uint8_t* __restrict mid,
                       const uint8_t* __restrict high, size_t values, uint8_t* __restrict to) {
    constexpr size_t kNext = kImageChannels, kAfter = 2 * kImageChannels;
    for (size_t x = 0; x < values; ++x) {
        to[x] = median(upper(upper(low[x], low[x + kNext]), low[x + kAfter]),
                       median(mid[x], mid[x + kNext], mid[x + kAfter]),
                       lower(lower(high[x], high[x + kNext]), high[x + kAfter]));
    }
}

// The weights of distances 0 to radius.
std::vector<int32_t> gaussian_weights(double sigma) {
    const auto radius = static_cast<size_t>(std::ceil(3 * sigma));
    std::vector<double> exact(radius + 1);
    double sum = -1;  // the centre counts once
    for (size_t i = 0; i <= radius; ++i) {
        const double at = static_cast<double>(i) / sigma;
        exact[i] = std::exp(-0.5 * at * at);
        sum += 2 * exact[i];
    }
    std::vector<int32_t> weights(radius + 1);
    int32_t others = 0;
    for (size_t i = 1; i <= radius; ++i) {
        weights[i] = static_cast<int32_t>(std::lround(exact[i] / sum * (1 << kFractionBits)));
        others += 2 * weights[i];
    }
    weights[0] = (1 << kFractionBits) - others;  // an even area stays exactly as it is
    return weights;
}

void add_weighted(const uint8_t* a, const uint8_t* b, int32_t weight, std::vector<int32_t>& sums) {
    int32_t* to = sums.data();
    for (size_t x = 0; x < sums.size(); ++x)
        to[x] += weight * (a[x] + b[x]);
}

void start_sums(const uint8_t* centre, int32_t weight, std::vector<int32_t>& sums) {
    for (size_t x = 0; x < sums.size(); ++x)
        sums[x] = (1 << (kFractionBits - 1)) + weight * centre[x];
}

void round_sums(const std::vector<int32_t>& sums, uint8_t* to) {
    for (size_t x = 0; x < sums.size(); ++x)
        to[x] = static_cast<uint8_t>(sums[x] >> kFractionBits);
}

}  // namespace

Image median_3x3(const Image& image) {
    check_image(image);
    Image out(image.width, image.height);
    const size_t values = (image.width + 2) * kImageChannels;
    std::vector<uint8_t> above, centre, below, low(values), mid(values), high(values);
    for (size_t y = 0; y < image.height; ++y) {
        const auto at = static_cast<ptrdiff_t>(y);
        extend(clamped_row(image, at - 1), image.width, 1, above);
        extend(clamped_row(image, at), image.width, 1, centre);
        extend(clamped_row(image, at + 1), image.width, 1, below);
        sort_columns(above.data(), centre.data(), below.data(), values, low.data(), mid.data(),
                     high.data());
        median_of_columns(low.data(), mid.data(), high.data(), image.width * kImageChannels,
                          out.row(y));
    }
    return out;
}

Image gaussian_blur(const Image& image, double sigma) {
    check_image(image);
    check(sigma >= kMinSigma && sigma <= kMaxSigma, StatusCode::InvalidArgument, "sigma = ", sigma,
          " must be ", kMinSigma, " to ", kMaxSigma, " pixels");
    const std::vector<int32_t> weights = gaussian_weights(sigma);
    const size_t radius = weights.size() - 1;
    std::vector<int32_t> sums(image.width * kImageChannels);
    Image rows(image.width, image.height), out(image.width, image.height);
    std::vector<uint8_t> extended;
    for (size_t y = 0; y < image.height; ++y) {
        extend(image.row(y), image.width, radius, extended);
        const uint8_t* centre = extended.data() + radius * kImageChannels;
        start_sums(centre, weights[0], sums);
        for (size_t i = 1; i <= radius; ++i) {
            const size_t away = i * kImageChannels;
            add_weighted(centre - away, centre + away, weights[i], sums);
        }
        round_sums(sums, rows.row(y));
    }
    for (size_t y = 0; y < image.height; ++y) {
        const auto at = static_cast<ptrdiff_t>(y);
        start_sums(rows.row(y), weights[0], sums);
        for (size_t i = 1; i <= radius; ++i) {
            const auto away = static_cast<ptrdiff_t>(i);
            add_weighted(clamped_row(rows, at - away), clamped_row(rows, at + away), weights[i],
                         sums);
        }
        round_sums(sums, out.row(y));
    }
    return out;
}

}  // namespace nearcell
