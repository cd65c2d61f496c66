// What every codec promises, whatever its kind.
#include <nearcell/quantize/codec.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include <nearcell/core/error.h>

#include "codec_samples.h"

namespace nearcell {
namespace {

std::vector<CodecOptions> every_codec(size_t dim) {
    std::vector<CodecOptions> all;
    for (CodeKind kind : {CodeKind::Float32, CodeKind::Float16, CodeKind::BFloat16,
                          CodeKind::RangeInt8, CodeKind::ScaledInt8}) {
        all.push_back(of_kind(kind));
    }
    for (size_t m : {size_t{1}, (dim + 2) / 3, dim}) {
        all.push_back(product(CodeKind::Product8, m));
        all.push_back(product(CodeKind::Product4, m));
    }
    for (size_t bits = 1; bits <= 8; ++bits)
        all.push_back(with_bits(bits));
    return all;
}

std::string name_of(const CodecOptions& options, size_t dim) {
    return "kind " + std::to_string(static_cast<int>(options.kind)) + ", M " +
           std::to_string(options.subquantizers) + ", bits " + std::to_string(options.bits) +
           ", dim " + std::to_string(dim);
}

struct Sample {
    Matrix x;
    std::unique_ptr<Codec> codec;
};

// Every codec at odd dimensions, trained once for all tests.
const std::vector<Sample>& samples() {
    static const std::vector<Sample> all = [] {
        std::vector<Sample> made;
        for (size_t dim : {1u, 2u, 3u, 4u, 5u, 7u, 9u, 16u, 31u, 33u, 64u, 67u}) {
            Matrix x = cloudy_rows(300, dim, 20, dim);
            for (size_t i = 0; i < 10; ++i) {  // rows of other lengths, zero among them
                const float scale = i == 0 ? 0.0f : std::pow(0.1f, static_cast<float>(i));
                for (size_t j = 0; j < dim; ++j)
                    x.row(i)[j] *= scale;
            }
            for (const CodecOptions& options : every_codec(dim)) {
                CodecTraining training;
                training.iterations = 2;
                training.threads = 1;
                made.push_back({x, make_codec(options, dim)});
                made.back().codec->train(x.view(), training, cpu_backend());
            }
        }
        return made;
    }();
    return all;
}

void for_every_codec(const std::function<void(Codec&, const Matrix&)>& test) {
    for (const Sample& sample : samples()) {
        SCOPED_TRACE(name_of(sample.codec->options(), sample.codec->dim()));
        test(*sample.codec, sample.x);
    }
}

// A code without what does not have to come back: the factors of a binary code.
Codes kept_words(const Codec& codec, Codes codes) {
    if (codec.options().kind != CodeKind::Bits) return codes;
    const size_t words = codec.code_words();
    for (size_t i = 0; i < codes.size(); i += words) {
        const size_t factors = bits_factor_words(codec.options().bits);
        std::fill_n(codes.begin() + static_cast<ptrdiff_t>(i + words - factors), factors, 0u);
    }
    return codes;
}

TEST(Codec, EncodingADecodedVectorGivesItsCode) {
    for_every_codec([](const Codec& codec, const Matrix& x) {
        const Codes codes = encoded(codec, x);
        const Codes again = encoded(codec, decoded(codec, codes));
        EXPECT_EQ(kept_words(codec, codes), kept_words(codec, again));
    });
}

TEST(Codec, SameBitsForAnyNumberOfThreads) {
    for_every_codec([](const Codec& codec, const Matrix& x) {
        if (codec.dim() % 3 != 1) return;  // some are enough: threads are slow on a busy machine
        const Codes one = encoded(codec, x, 1);
        EXPECT_EQ(one, encoded(codec, x, 2));
        EXPECT_EQ(one, encoded(codec, x, 3));
    });
}

TEST(Codec, TrainingGivesTheSameBitsForAnyNumberOfThreads) {
    const Matrix x = cloudy_rows(400, 13, 20, 1);
    for (const CodecOptions& options : every_codec(13)) {
        const std::unique_ptr<Codec> codec = make_codec(options, 13);
        std::vector<float> expected;
        for (int threads : {1, 2, 3}) {
            CodecTraining training;
            training.threads = threads;
            training.iterations = 2;
            codec->train(x.view(), training, cpu_backend());
            if (threads == 1) expected = codec->parameters();
            EXPECT_EQ(codec->parameters(), expected);
        }
    }
}

TEST(Codec, ARowsCodeDoesNotDependOnTheOthers) {
    for_every_codec([](const Codec& codec, const Matrix& x) {
        const Codes all = encoded(codec, x);
        Matrix one(1, x.cols);
        std::copy_n(x.row(123), x.cols, one.row(0));
        const size_t words = codec.code_words();
        const auto first = all.begin() + static_cast<ptrdiff_t>(123 * words);
        EXPECT_EQ(encoded(codec, one), Codes(first, first + static_cast<ptrdiff_t>(words)));
    });
}

TEST(Codec, ParametersRestoreTheCodec) {
    for_every_codec([](const Codec& codec, const Matrix& x) {
        const std::unique_ptr<Codec> restored = make_codec(codec.options(), codec.dim());
        restored->set_parameters(codec.parameters());
        EXPECT_TRUE(restored->is_trained());
        EXPECT_EQ(restored->parameters(), codec.parameters());
        EXPECT_EQ(encoded(*restored, x), encoded(codec, x));
        EXPECT_EQ(decoded(*restored, encoded(codec, x)).values,
                  decoded(codec, encoded(codec, x)).values);
    });
}

TEST(Codec, WrongParametersAreCorrupt) {
    for_every_codec([](Codec& codec, const Matrix&) {
        const std::vector<float> good = codec.parameters();
        std::vector<std::vector<float>> bad(1, good);
        bad[0].push_back(0.0f);
        if (!good.empty()) {
            bad.emplace_back(good.begin(), good.end() - 1);
            bad.emplace_back();
            bad.push_back(good);
            bad.back().back() = std::numeric_limits<float>::quiet_NaN();
            bad.push_back(good);
            bad.back().front() = std::numeric_limits<float>::infinity();
        }
        for (const std::vector<float>& parameters : bad) {
            EXPECT_EQ(code_of([&] { codec.set_parameters(parameters); }), StatusCode::Corrupt);
        }
        EXPECT_EQ(codec.parameters(), good);
    });
}

TEST(Codec, StridedRowsAreReadRight) {
    for_every_codec([](const Codec& codec, const Matrix& x) {
        Matrix wide(x.rows, x.cols + 3);
        for (size_t i = 0; i < x.rows; ++i)
            std::copy_n(x.row(i), x.cols, wide.row(i));
        Codes codes(x.rows * codec.code_words(), 0xffffffffu);
        const MatrixView<const float> view(wide.values.data(), x.rows, x.cols, x.cols + 3);
        codec.encode(view, codes.data(), 1, cpu_backend());
        EXPECT_EQ(codes, encoded(codec, x));
    });
}

TEST(Codec, SizesAreThoseOfTheLayout) {
    const auto words = [](const CodecOptions& options, size_t dim) {
        return make_codec(options, dim)->code_words();
    };
    EXPECT_EQ(words(of_kind(CodeKind::Float32), 67), 67u);
    EXPECT_EQ(words(of_kind(CodeKind::Float16), 67), 34u);
    EXPECT_EQ(words(of_kind(CodeKind::BFloat16), 66), 33u);
    EXPECT_EQ(words(of_kind(CodeKind::RangeInt8), 65), 17u);
    EXPECT_EQ(words(of_kind(CodeKind::ScaledInt8), 64), 17u);
    EXPECT_EQ(words(product(CodeKind::Product8, 9), 64), 3u);
    EXPECT_EQ(words(product(CodeKind::Product4, 9), 64), 2u);
    EXPECT_EQ(words(with_bits(1), 64), 4u);
    EXPECT_EQ(words(with_bits(5), 65), 19u);
}

TEST(Codec, OptionsThatNameNoCodecAreRefused) {
    const auto refused = [](const CodecOptions& options, size_t dim) {
        return code_of([&] { make_codec(options, dim); }) == StatusCode::InvalidArgument;
    };
    EXPECT_TRUE(refused(of_kind(CodeKind::Float32), 0));
    EXPECT_TRUE(refused(product(CodeKind::Product8, 0), 8));
    EXPECT_TRUE(refused(product(CodeKind::Product4, 9), 8));
    EXPECT_TRUE(refused(with_bits(0), 8));
    EXPECT_TRUE(refused(with_bits(9), 8));
    EXPECT_TRUE(refused(of_kind(static_cast<CodeKind>(8)), 8));
}

}  // namespace
}  // namespace nearcell
