#include <nearcell/kernels/coarse_rows.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

namespace nearcell {
namespace {

// Rows whose distances to the means of their groups are, squared, more than this part of those to
// the mean of all are in no order that groups could use. Of random groups of 16 it is 15 / 16.
constexpr double kScattered = 0.8;

}  // namespace

CoarseRows::CoarseRows(MatrixView<const float> rows, Metric metric) : metric_(metric), rows_(rows) {
    const size_t n = rows.rows, d = rows.cols;
    if (n == 0) return;
    std::vector<float> moved;
    MatrixView<const float> operand = rows;
    if (metric == Metric::L2) {
        std::vector<double> sum(d, 0.0);
        for (size_t i = 0; i < n; ++i) {
            for (size_t j = 0; j < d; ++j)
                sum[j] += static_cast<double>(rows.row(i)[j]);
        }
        for (const double value : sum)
            center_.push_back(static_cast<float>(value / static_cast<double>(n)));
        for (size_t i = 0; i < n; ++i) {
            for (size_t j = 0; j < d; ++j)
                moved.push_back(rows.row(i)[j] - center_[j]);
        }
        operand = {moved.data(), n, d};
        squares_.assign(blocks_for(n) * kBlock, std::numeric_limits<float>::infinity());
    }
    for (size_t i = 0; i < n; ++i) {
        double square = 0;
        for (size_t j = 0; j < d; ++j) {
            square +=
                static_cast<double>(operand.row(i)[j]) * static_cast<double>(operand.row(i)[j]);
        }
        if (!squares_.empty()) squares_[i] = static_cast<float>(square);
        largest_norm_ = std::max(largest_norm_, std::sqrt(square));
    }
    if (!(largest_norm_ >= kLeastNorm && largest_norm_ <= kLargestNorm)) return;
    scale_ = static_cast<float>(kIntegerNorm / largest_norm_);
    steps_ = (d + 3) / 4;
    blocks_.resize(blocks_for(n) * block_words());
    std::vector<int16_t> integers(4 * steps_);
    for (size_t i = 0; i < n; ++i) {
        round_to_integers(operand.row(i), d, scale_, integers.data());
        uint32_t* const lane = blocks_.mutable_data() + i / kBlock * block_words() + i % kBlock;
        for (size_t j = 0; j < 4 * steps_; ++j) {
            const uint32_t bits = static_cast<uint16_t>(integers[j]);
            uint32_t* const high = lane + j / 4 * 2 * kBlock;
            high[0] |= (bits >> 8) << (j % 4 * 8);
            high[kBlock] |= (bits & 255u) << (j % 4 * 8);
        }
    }
    if (n >= kManyRows) make_groups();
}

void CoarseRows::make_groups() {
    const size_t n = rows_.rows, d = rows_.cols, count = blocks_for(n);
    std::vector<float> means(count * d);
    std::vector<double> sum(d), total(d, 0.0);
    double within = 0, squares = 0;
    for (size_t g = 0; g < count; ++g) {
        const size_t first = g * kBlock, size = std::min(kBlock, n - first);
        std::fill(sum.begin(), sum.end(), 0.0);
        for (size_t i = first; i < first + size; ++i) {
            for (size_t j = 0; j < d; ++j) {
                const double value = static_cast<double>(rows_.row(i)[j]);
                sum[j] += value;
                squares += value * value;
            }
        }
        for (size_t j = 0; j < d; ++j) {
            const double mean = sum[j] / static_cast<double>(size);
            within -= mean * sum[j];
            total[j] += sum[j];
            means[g * d + j] = static_cast<float>(mean);
        }
    }
    within += squares;
    double about_mean = squares;
    for (const double value : total)
        about_mean -= value * value / static_cast<double>(n);
    if (!(within < kScattered * about_mean)) return;
    means_ = std::move(means);
    groups_ =
        std::make_unique<CoarseRows>(MatrixView<const float>(means_.data(), count, d), metric_);
    groups_->groups_.reset();  // one level is enough
}

void round_to_integers(const float* x, size_t d, float scale, int16_t* out) {
    for (size_t j = 0; j < d; ++j) {
        // Adding 1.5 x 2^23 rounds, and leaves the integer at the end of the fraction.
        const float shifted = x[j] * scale + 0x1.8p23f;
        out[j] = static_cast<int16_t>(std::bit_cast<uint32_t>(shifted));
    }
    for (size_t j = d; j % 4 != 0; ++j)
        out[j] = 0;
}

}  // namespace nearcell
