#include <nearcell/quantize/scaled_int8_codec.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include <nearcell/quantize/parameter_checks.h>
#include <nearcell/quantize/row_blocks.h>

namespace nearcell {
namespace {

constexpr size_t kRows = 256;  // a task

// Scales keep 16 bits, so scale x byte has at most 23 and is exact. Below kLeastScale floats have
// fewer bits to round to; kLargestScale x 127 is the largest product that is still finite.
constexpr float kLeastScale = 0x1p-126f;
constexpr float kLargestScale = 0x1.0204p121f;

float largest_magnitude(const float* x, size_t dim) {
    float largest = 0;
    for (size_t j = 0; j < dim; ++j)
        largest = std::max(largest, std::fabs(x[j]));
    return largest;
}

// largest / 127 rounded up to 16 significant bits: then the largest value becomes 127 again.
float scale_of(float largest) {
    if (largest <= 0.5f * kLeastScale) return 0.0f;  // every byte would be 0
    const float ideal = static_cast<float>(static_cast<double>(largest) / 127.0);
    if (ideal <= kLeastScale) return kLeastScale;
    const uint32_t rounded = (std::bit_cast<uint32_t>(ideal) + 0xffu) & ~0xffu;
    return std::min(std::bit_cast<float>(rounded), kLargestScale);
}

// To the nearest integer, in the low byte: adding 1.5 x 2^23 leaves it at the end of the fraction.
uint8_t rounded_byte(float value) {
    return static_cast<uint8_t>(std::bit_cast<uint32_t>(value + 0x1.8p23f));
}

}  // namespace

void ScaledInt8Codec::train(MatrixView<const float>, const CodecTraining&, const Backend&) {}

void ScaledInt8Codec::encode_on_host(MatrixView<const float> x, uint32_t* codes, int threads,
                                     const Backend&) const {
    const size_t words = code_words();
    for_row_blocks(x.rows, kRows, threads, [&](size_t first, size_t count) {
        for (size_t i = first; i < first + count; ++i) {
            const float* row = x.row(i);
            uint32_t* code = codes + i * words;
            std::fill(code, code + words, 0u);
            const float scale = scale_of(largest_magnitude(row, dim_));
            if (scale == 0.0f) continue;
            code[words - 1] = std::bit_cast<uint32_t>(scale);
            uint8_t* bytes = reinterpret_cast<uint8_t*>(code);
            for (size_t j = 0; j < dim_; ++j)
                bytes[j] = rounded_byte(row[j] / scale);
        }
    });
}

CodeView ScaledInt8Codec::view() const {
    CodeView view;
    view.kind = CodeKind::ScaledInt8;
    view.dim = dim_;
    view.words = (dim_ + 3) / 4 + 1;
    return view;
}

void ScaledInt8Codec::set_parameters(std::span<const float> parameters) {
    check_parameters(parameters, 0, "a scaled int8 codec");
}

}  // namespace nearcell
