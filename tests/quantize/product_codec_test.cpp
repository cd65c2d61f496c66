#include <nearcell/quantize/product_codec.h>

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "codec_samples.h"

namespace nearcell {
namespace {

uint32_t code_at(const Codec& codec, const Codes& codes, size_t row, size_t m) {
    const size_t bits = codec.options().kind == CodeKind::Product8 ? 8 : 4;
    const uint32_t word = codes[row * codec.code_words() + m * bits / 32];
    return (word >> (m * bits % 32)) & ((1u << bits) - 1);
}

TEST(ProductCodec, CodesAreTheNearestCentroids) {
    const Matrix x = cloudy_rows(600, 19, 30, 1);
    for (CodeKind kind : {CodeKind::Product8, CodeKind::Product4}) {
        const auto codec = trained(product(kind, 7), x);
        const CodeView view = codec->view();
        const size_t centroids = kind == CodeKind::Product8 ? 256 : 16;
        const Codes codes = encoded(*codec, x);
        for (size_t i = 0; i < x.rows; i += 7) {
            for (size_t m = 0; m < 7; ++m) {
                const size_t begin = view.sub_begin[m], width = view.sub_begin[m + 1] - begin;
                double best = std::numeric_limits<double>::infinity(), chosen = 0;
                for (size_t c = 0; c < centroids; ++c) {
                    double square = 0;
                    for (size_t j = 0; j < width; ++j) {
                        const double gap =
                            static_cast<double>(x.row(i)[begin + j]) -
                            static_cast<double>(view.codebooks[centroids * begin + c * width + j]);
                        square += gap * gap;
                    }
                    best = std::min(best, square);
                    if (c == code_at(*codec, codes, i, m)) chosen = square;
                }
                EXPECT_LE(chosen, best * (1 + 1e-5));
            }
        }
    }
}

TEST(ProductCodec, SubspacesSplitUnevenly) {
    for (size_t dim = 1; dim <= 67; dim += 2) {
        for (size_t m = 1; m <= dim; m += 1 + dim / 5) {
            const auto codec = make_codec(product(CodeKind::Product8, m), dim);
            const CodeView view = codec->view();
            EXPECT_EQ(view.sub_begin[0], 0u);
            EXPECT_EQ(view.sub_begin[m], dim);
            for (size_t s = 0; s < m; ++s) {
                const size_t width = view.sub_begin[s + 1] - view.sub_begin[s];
                EXPECT_EQ(width, dim / m + (s < dim % m ? 1 : 0));
            }
        }
    }
}

TEST(ProductCodec, ErrorFallsWithSubquantizersAndBits) {
    const Matrix x = gaussian_rows(1500, 24, 2);
    CodecTraining training;
    training.iterations = 6;
    training.threads = 1;
    double last[2] = {1e9, 1e9};
    for (size_t m : {2u, 5u, 8u, 12u, 24u}) {
        double error[2];
        for (size_t wide = 0; wide < 2; ++wide) {
            const CodeKind kind = wide == 1 ? CodeKind::Product8 : CodeKind::Product4;
            const auto codec = make_codec(product(kind, m), 24);
            codec->train(x.view(), training, cpu_backend());
            error[wide] = round_trip_error(*codec, x);
            EXPECT_LT(error[wide], last[wide]);
            last[wide] = error[wide];
        }
        EXPECT_LT(error[1], error[0]);
    }
}

TEST(ProductCodec, AsManyRowsAsCentroidsAreKeptExactly) {
    const Matrix x = gaussian_rows(256, 10, 3);
    const auto codec = trained(product(CodeKind::Product8, 3), x);
    EXPECT_EQ(decoded(*codec, encoded(*codec, x)).values, x.values);
}

TEST(ProductCodec, TooFewRowsAreRefusedByNumber) {
    const Matrix x = gaussian_rows(255, 8, 4);
    const auto codec = make_codec(product(CodeKind::Product8, 4), 8);
    try {
        codec->train(x.view(), CodecTraining(), cpu_backend());
        ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::InvalidArgument);
        EXPECT_NE(std::string(error.what()).find("255 rows"), std::string::npos) << error.what();
        EXPECT_NE(std::string(error.what()).find("at least 256"), std::string::npos);
    }
    EXPECT_FALSE(codec->is_trained());
    EXPECT_NO_THROW(trained(product(CodeKind::Product4, 4), x));
}

TEST(ProductCodec, CancellingLeavesTheCodecAsItWas) {
    const Matrix x = gaussian_rows(600, 8, 5);
    const auto codec = trained(product(CodeKind::Product4, 4), x);
    const std::vector<float> before = codec->parameters();
    CodecTraining training;
    training.seed = 99;
    training.threads = 1;
    int calls = 0;
    training.progress = [&](std::string_view, double done, double total) {
        EXPECT_LE(done, total);
        return ++calls < 2;
    };
    const auto train = [&] { codec->train(x.view(), training, cpu_backend()); };
    EXPECT_EQ(code_of(train), StatusCode::Cancelled);
    EXPECT_EQ(codec->parameters(), before);
}

}  // namespace
}  // namespace nearcell
