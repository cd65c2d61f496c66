// Short ways to make, train and use codecs in tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/quantize/codec.h>

#include "sample_data.h"

namespace nearcell {

using Codes = std::vector<uint32_t>;

inline CodecOptions of_kind(CodeKind kind) {
    CodecOptions options;
    options.kind = kind;
    return options;
}

inline CodecOptions product(CodeKind kind, size_t subquantizers) {
    CodecOptions options = of_kind(kind);
    options.subquantizers = subquantizers;
    return options;
}

inline CodecOptions with_bits(size_t bits) {
    CodecOptions options = of_kind(CodeKind::Bits);
    options.bits = bits;
    return options;
}

inline std::unique_ptr<Codec> trained(const CodecOptions& options, const Matrix& x) {
    std::unique_ptr<Codec> codec = make_codec(options, x.cols);
    CodecTraining training;
    training.threads = 1;
    training.iterations = 10;
    codec->train(x.view(), training, cpu_backend());
    return codec;
}

inline Codes encoded(const Codec& codec, const Matrix& x, int threads = 1) {
    Codes codes(x.rows * codec.code_words(), 0xffffffffu);  // encode must not rely on zeros
    codec.encode(x.view(), codes.data(), threads, cpu_backend());
    return codes;
}

inline Matrix decoded(const Codec& codec, const Codes& codes) {
    Matrix x(codes.size() / codec.code_words(), codec.dim());
    codec.decode(codes.data(), x.view(), cpu_backend());
    return x;
}

// The mean squared error of a value after encoding and decoding.
inline double round_trip_error(const Codec& codec, const Matrix& x) {
    const Matrix y = decoded(codec, encoded(codec, x));
    double sum = 0;
    for (size_t i = 0; i < x.values.size(); ++i) {
        const double gap = static_cast<double>(x.values[i]) - static_cast<double>(y.values[i]);
        sum += gap * gap;
    }
    return sum / static_cast<double>(x.values.size());
}

inline StatusCode code_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const Error& error) {
        return error.code();
    }
    ADD_FAILURE() << "nothing was thrown";
    return StatusCode::Io;
}

}  // namespace nearcell
