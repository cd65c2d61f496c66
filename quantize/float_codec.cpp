#include <nearcell/quantize/float_codec.h>

#include <bit>
#include <cstring>
#include <sstream>

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

// Without its sign bit, a float's order is that of its bits; NaN and infinity come last.
template <class Half>
bool fits(float value) {
    constexpr int32_t kLimit = std::bit_cast<int32_t>(Half::kRoundsToInfinity);
    return (std::bit_cast<int32_t>(value) & 0x7fffffff) < kLimit;
}

template <class Half>
void check_fits(const float* x, size_t dim, size_t row) {
    int32_t refused = 0;
    for (size_t j = 0; j < dim; ++j)
        refused |= fits<Half>(x[j]) ? 0 : 1;
    for (size_t j = 0; refused != 0 && j < dim; ++j) {
        if (fits<Half>(x[j])) continue;
        std::ostringstream rest;
        rest.imbue(std::locale::classic());
        rest << ", " << j << "] = " << x[j] << " does not fit " << Half::kName
             << ", whose largest value is " << Half::kLargest
             << ": scale the vectors or store them as float32";
        throw UnfitValue(row, rest.str());
    }
}

template <class Half>
void encode_row(const float* x, size_t dim, size_t row, uint32_t* code) {
    check_fits<Half>(x, dim, row);
    for (size_t w = 0; w < dim / 2; ++w) {
        const uint32_t even = Half::bits(x[2 * w]), odd = Half::bits(x[2 * w + 1]);
        code[w] = even | odd << 16;
    }
    if (dim % 2 != 0) code[dim / 2] = Half::bits(x[dim - 1]);
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
