#include <nearcell/quantize/range_int8_codec.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <nearcell/core/error.h>
#include <nearcell/quantize/parameter_checks.h>
#include <nearcell/quantize/row_blocks.h>

namespace nearcell {
namespace {

constexpr size_t kRows = 256;            // a task of encoding
constexpr size_t kTrainingRows = 16384;  // a task of training

// A step below this many units in the last place of the values could not be told apart when
// decoded.
constexpr float kLeastStepUlps = 4.0f;

struct Range {
    std::vector<float> least;
    std::vector<float> largest;
    std::vector<uint8_t> whole;  // 1: all values are integers

    explicit Range(size_t dim)
        : least(dim, std::numeric_limits<float>::max()),
          largest(dim, std::numeric_limits<float>::lowest()),
          whole(dim, 1) {}

    void include(const float* row) {
        for (size_t j = 0; j < least.size(); ++j) {
            least[j] = std::min(least[j], row[j]);
            largest[j] = std::max(largest[j], row[j]);
            if (std::trunc(row[j]) != row[j]) whole[j] = 0;
        }
    }
    void include(const Range& other) {
        for (size_t j = 0; j < least.size(); ++j) {
            least[j] = std::min(least[j], other.least[j]);
            largest[j] = std::max(largest[j], other.largest[j]);
            if (other.whole[j] == 0) whole[j] = 0;
        }
    }
};

Range range_of(MatrixView<const float> x, int threads) {
    std::vector<Range> parts((x.rows + kTrainingRows - 1) / kTrainingRows, Range(x.cols));
    for_row_blocks(x.rows, kTrainingRows, threads, [&](size_t first, size_t count) {
        for (size_t i = first; i < first + count; ++i) {
            parts[first / kTrainingRows].include(x.row(i));
        }
    });
    Range range(x.cols);
    for (const Range& part : parts)
        range.include(part);
    return range;
}

float ulp(float value) {
    const float magnitude = std::fabs(value);
    return std::nextafter(magnitude, std::numeric_limits<float>::infinity()) - magnitude;
}

float step_of(float least, float largest) {
    if (least == largest) return 0.0f;
    const double width = static_cast<double>(largest) - static_cast<double>(least);
    const float magnitude = std::max(std::fabs(least), std::fabs(largest));
    return std::max(static_cast<float>(width / 255.0), kLeastStepUlps * ulp(magnitude));
}

uint8_t encode_value(float x, float offset, float divisor) {
    const float position = (x - offset) / divisor + 0.5f;
    const float floor_at_0 = position > 0.0f ? position : 0.0f;  // also NaN
    return static_cast<uint8_t>(static_cast<int>(floor_at_0 < 255.0f ? floor_at_0 : 255.0f));
}

}  // namespace

void RangeInt8Codec::train(MatrixView<const float> x, const CodecTraining& training,
                           const Backend&) {
    check(x.rows >= 1, StatusCode::InvalidArgument,
          "int8 ranges cannot be trained on 0 rows: pass at least 1");
    const Range range = range_of(x, training.threads);
    std::vector<float> offset(dim_), step(dim_);
    for (size_t j = 0; j < dim_; ++j) {
        step[j] = step_of(range.least[j], range.largest[j]);
        offset[j] = range.least[j] + 0.5f * step[j];
        // Integers that fit into a byte are kept as they are: descriptors and pixels mostly.
        if (range.whole[j] != 0 && step[j] > 0 && step[j] <= 1.0f) {
            step[j] = 1.0f;
            offset[j] = range.least[j];
        }
    }
    use(std::move(offset), std::move(step));
}

void RangeInt8Codec::encode_on_host(MatrixView<const float> x, uint32_t* codes, int threads,
                                    const Backend&) const {
    const size_t words = code_words();
    for_row_blocks(x.rows, kRows, threads, [&](size_t first, size_t count) {
        for (size_t i = first; i < first + count; ++i) {
            uint32_t* code = codes + i * words;
            std::fill(code + dim_ / 4, code + words, 0u);
            uint8_t* bytes = reinterpret_cast<uint8_t*>(code);
            const float* row = x.row(i);
            for (size_t j = 0; j < dim_; ++j) {
                bytes[j] = encode_value(row[j], offset_[j], divisor_[j]);
            }
        }
    });
}

CodeView RangeInt8Codec::view() const {
    CodeView view;
    view.kind = CodeKind::RangeInt8;
    view.dim = dim_;
    view.factors = options_.factors;
    view.words = (dim_ + 3) / 4 + (options_.factors ? kInt8Factors : 0);
    view.offset = offset_.data();
    view.step = step_.data();
    return view;
}

std::vector<float> RangeInt8Codec::parameters() const {
    std::vector<float> all = offset_;
    all.insert(all.end(), step_.begin(), step_.end());
    return all;
}

void RangeInt8Codec::set_parameters(std::span<const float> parameters) {
    check_parameters(parameters, 2 * dim_, "an int8 range codec");
    const auto middle = parameters.begin() + static_cast<ptrdiff_t>(dim_);
    for (auto step = middle; step != parameters.end(); ++step) {
        check(*step >= 0, StatusCode::Corrupt, "an int8 range codec has a negative step, ", *step);
    }
    use({parameters.begin(), middle}, {middle, parameters.end()});
}

void RangeInt8Codec::use(std::vector<float> offset, std::vector<float> step) {
    std::vector<float> divisor = step;
    std::replace(divisor.begin(), divisor.end(), 0.0f, std::numeric_limits<float>::infinity());
    offset_ = std::move(offset);
    step_ = std::move(step);
    divisor_ = std::move(divisor);
}

}  // namespace nearcell
