#include <nearcell/quantize/float_codec.h>

#include <cstring>

#include <nearcell/core/error.h>
#include <nearcell/core/half.h>
#include <nearcell/quantize/parameter_checks.h>
#include <nearcell/quantize/row_blocks.h>

namespace nearcell {
namespace {

constexpr size_t kRows = 256;  // a task

struct Float16 {
    static constexpr const char* kName = "float16";
    static constexpr float kLargest = 65504.0f;
    static constexpr float kRoundsToInfinity = 65520.0f;
    static uint16_t bits(float value) { return float16_from_float(value); }
};

struct BFloat16 {
    static constexpr const char* kName = "bfloat16";
    static constexpr float kLargest = 0x1.fep127f;
    static constexpr float kRoundsToInfinity = 0x1.ffp127f;
    static uint16_t bits(float value) { return bfloat16_from_float(value); }
};

template <class Half>
void encode_row(const float* x, size_t dim, size_t row, uint32_t* code) {
    for (size_t j = 0; j < dim; ++j) {
        const bool fits = -Half::kRoundsToInfinity < x[j] && x[j] < Half::kRoundsToInfinity;
        check(fits, StatusCode::InvalidArgument, "x[", row, ", ", j, "] = ", x[j], " does not fit ",
              Half::kName, ", whose largest value is ", Half::kLargest,
              ": scale the vectors or store them as float32");
        const uint32_t bits = Half::bits(x[j]);
        if (j % 2 == 0) {
            code[j / 2] = bits;
        } else {
            code[j / 2] |= bits << 16;
        }
    }
}

}  // namespace

void FloatCodec::train(MatrixView<const float>, const CodecTraining&, const Backend&) {}

void FloatCodec::encode_on_host(MatrixView<const float> x, uint32_t* codes, int threads,
                                const Backend&) const {
    const size_t words = code_words();
    for_row_blocks(x.rows, kRows, threads, [&](size_t first, size_t count) {
        for (size_t i = first; i < first + count; ++i) {
            uint32_t* code = codes + i * words;
            switch (options_.kind) {
                case CodeKind::Float16: encode_row<Float16>(x.row(i), dim_, i, code); break;
                case CodeKind::BFloat16: encode_row<BFloat16>(x.row(i), dim_, i, code); break;
                default: std::memcpy(code, x.row(i), dim_ * sizeof(float));
            }
        }
    });
}

CodeView FloatCodec::view() const {
    CodeView view;
    view.kind = options_.kind;
    view.dim = dim_;
    view.words = options_.kind == CodeKind::Float32 ? dim_ : (dim_ + 1) / 2;
    return view;
}

void FloatCodec::set_parameters(std::span<const float> parameters) {
    check_parameters(parameters, 0, "a float codec");
}

}  // namespace nearcell
