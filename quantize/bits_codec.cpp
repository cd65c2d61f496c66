#include <nearcell/quantize/bits_codec.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include <nearcell/core/half.h>
#include <nearcell/quantize/grid_fit.h>
#include <nearcell/quantize/parameter_checks.h>
#include <nearcell/quantize/row_blocks.h>

namespace nearcell {
namespace {

constexpr size_t kRows = 64;  // a task

// Standard deviations that the error stays within: one-sided, 97 of 100 times.
constexpr double kErrorWidth = 1.9;

// Below this the factors would lose their precision as floats; the vector is taken as the origin.
constexpr double kLeastSquare = 1e-30;

struct Factors {
    float scale = 0;
    float bias = 0;
    float error = 0;
};

float to_finite(double value) {
    constexpr double kLargest = static_cast<double>(float_from_bfloat16(0x7f7f));
    return static_cast<float>(std::clamp(value, -kLargest, kLargest));
}

float to_half(float value) { return float_from_bfloat16(bfloat16_from_float(value)); }

double square_of(const float* x, size_t dim) {
    double square = 0;
    for (size_t j = 0; j < dim; ++j) {
        square += static_cast<double>(x[j]) * static_cast<double>(x[j]);
    }
    return square;
}

// levels[j] is |u_j| - 1/2, and u has the signs of x.
Factors factors_of(const float* x, const std::vector<uint8_t>& levels, double square, bool halves) {
    double dot = 0, norm = 0;
    for (size_t j = 0; j < levels.size(); ++j) {
        const double u = static_cast<double>(levels[j]) + 0.5;
        dot += u * std::fabs(static_cast<double>(x[j]));
        norm += u * u;
    }
    const double tangent = std::max(0.0, square * norm / (dot * dot) - 1.0);  // its square
    const double freedom = static_cast<double>(std::max<size_t>(levels.size(), 2) - 1);
    Factors factors{to_finite(square / dot), to_finite(-square * tangent),
                    to_finite(2.0 * kErrorWidth * std::sqrt(square * tangent / freedom))};
    if (halves) {
        factors.scale = to_half(factors.scale);
        const double scale = static_cast<double>(factors.scale);
        factors.bias = to_finite(square - scale * scale * norm);
    }
    return factors;
}

Factors in_halves(const Factors& factors) {
    return {to_half(factors.scale), to_half(factors.bias),
            std::fabs(float_from_bfloat16(bfloat16_below(-factors.error)))};  // rounded up
}

// Sets bit planes from levels: code_j = 2^(bits-1) + level for x_j >= 0, 2^(bits-1) - 1 - level
// below.
void put_planes(const float* x, const std::vector<uint8_t>& levels, size_t bits, uint32_t* planes) {
    const size_t plane_words = (levels.size() + 31) / 32;
    const uint32_t half = 1u << (bits - 1);
    for (size_t j = 0; j < levels.size(); ++j) {
        const uint32_t code = x[j] >= 0.0f ? half + levels[j] : half - 1 - levels[j];
        for (size_t p = 0; p < bits; ++p) {
            const uint32_t bit = (code >> (bits - 1 - p)) & 1u;
            planes[p * plane_words + j / 32] |= bit << (j % 32);
        }
    }
}

}  // namespace

void BitsCodec::train(MatrixView<const float>, const CodecTraining&, const Backend&) {}

void BitsCodec::encode_on_host(MatrixView<const float> x, uint32_t* codes, int threads,
                               const Backend&) const {
    const size_t words = code_words(), factor_words = bits_factor_words(options_.bits);
    const bool halves = options_.bits == 1;
    for_row_blocks(x.rows, kRows, threads, [&](size_t first, size_t count) {
        GridFit fit(dim_, options_.bits);
        const std::vector<float> origin(dim_, 0.0f);
        for (size_t i = first; i < first + count; ++i) {
            const float* row = x.row(i);
            uint32_t* code = codes + i * words;
            std::fill(code, code + words, 0u);
            const double square = square_of(row, dim_);
            Factors factors{0.0f, static_cast<float>(square),
                            static_cast<float>(2.0 * std::sqrt(square))};
            if (square > kLeastSquare) {
                factors = factors_of(row, fit.fit(row), square, halves);
                put_planes(row, fit.levels(), options_.bits, code);
            } else {
                put_planes(origin.data(), fit.fit(origin.data()), options_.bits, code);
            }
            if (halves) factors = in_halves(factors);
            uint32_t* const tail = code + words - factor_words;
            set_bits_factor(tail, options_.bits, BitsFactor::Scale, factors.scale);
            set_bits_factor(tail, options_.bits, BitsFactor::Bias, factors.bias);
            set_bits_factor(tail, options_.bits, BitsFactor::Error, factors.error);
        }
    });
}

CodeView BitsCodec::view() const {
    CodeView view;
    view.kind = CodeKind::Bits;
    view.dim = dim_;
    view.bits = options_.bits;
    view.words = options_.bits * ((dim_ + 31) / 32) + bits_factor_words(options_.bits);
    return view;
}

void BitsCodec::set_parameters(std::span<const float> parameters) {
    check_parameters(parameters, 0, "a binary codec");
}

}  // namespace nearcell
