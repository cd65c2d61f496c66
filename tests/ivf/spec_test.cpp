// The rules of options made by hand, where no string stands in the way of wrong ones. Formatting
// and its inverse are tested in tests/index/factory_test.cpp.
#include <nearcell/ivf/spec.h>

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include <nearcell/core/error.h>

namespace nearcell {
namespace {

CellIndexOptions flat() {
    CellIndexOptions options;
    options.dim = 32;
    return options;
}

CellIndexOptions rabitq() {
    CellIndexOptions options = flat();
    options.codec = {.kind = CodeKind::Bits, .bits = 4};
    options.residual = true;
    options.transforms.push_back({.kind = TransformKind::RandomRotation});
    return options;
}

TEST(Spec, AcceptsPlainOptions) {
    EXPECT_NO_THROW(check_options(flat()));
    EXPECT_NO_THROW(check_options(rabitq()));
}

TEST(Spec, RefusesEveryBrokenRule) {
    struct Broken {
        const char* word;  // in the message
        StatusCode code;
        CellIndexOptions (*start)();
        std::function<void(CellIndexOptions&)> change;
    };
    using Options = CellIndexOptions;
    constexpr StatusCode kInvalid = StatusCode::InvalidArgument;
    constexpr StatusCode kUnsupported = StatusCode::Unsupported;
    const std::vector<Broken> table = {
        {"dim = 0", kInvalid, flat, [](Options& o) { o.dim = 0; }},
        {"dim = 65537", kInvalid, flat, [](Options& o) { o.dim = 65537; }},
        {"cells = 0", kInvalid, flat, [](Options& o) { o.cells = 0; }},
        {"cells = 16777217", kInvalid, flat, [](Options& o) { o.cells = 16777217; }},
        {"transforms = 17", kInvalid, flat, [](Options& o) { o.transforms.resize(17); }},
        {"transform kind 9", kInvalid, flat,
         [](Options& o) { o.transforms.push_back({.kind = static_cast<TransformKind>(9)}); }},
        {"Normalize out_dim = 1 ", kInvalid, flat,
         [](Options& o) { o.transforms = {{.kind = TransformKind::Normalize, .out_dim = 1}}; }},
        {"Normalize out_dim = 32 ", kInvalid, flat,
         [](Options& o) {
             o.transforms = {{.kind = TransformKind::Pca, .out_dim = 20},
                             {.kind = TransformKind::Normalize, .out_dim = 32}};
         }},
        {"PCA out_dim = 33", kInvalid, flat,
         [](Options& o) { o.transforms.push_back({.kind = TransformKind::Pca, .out_dim = 33}); }},
        {"OPQ subquantizers = 0", kInvalid, flat,
         [](Options& o) { o.transforms.push_back({.kind = TransformKind::Opq}); }},
        {"OPQ subquantizers = 9", kInvalid, flat,
         [](Options& o) {
             o.transforms.push_back({.kind = TransformKind::Opq, .out_dim = 8, .subquantizers = 9});
         }},
        {"OPQ out_dim = 65537", kInvalid, flat,
         [](Options& o) {
             o.transforms.push_back(
                 {.kind = TransformKind::Opq, .out_dim = 65537, .subquantizers = 9});
         }},
        {"rotation out_dim = 65537", kInvalid, flat,
         [](Options& o) {
             o.transforms.push_back({.kind = TransformKind::RandomRotation, .out_dim = 65537});
         }},
        {"codec kind 8", kInvalid, flat,
         [](Options& o) { o.codec.kind = static_cast<CodeKind>(8); }},
        {"subquantizers = 0", kInvalid, flat,
         [](Options& o) { o.codec = {.kind = CodeKind::Product8}; }},
        {"subquantizers = 33", kInvalid, flat,
         [](Options& o) { o.codec = {.kind = CodeKind::Product4, .subquantizers = 33}; }},
        {"bits = 0", kInvalid, rabitq, [](Options& o) { o.codec.bits = 0; }},
        {"bits = 9", kInvalid, rabitq, [](Options& o) { o.codec.bits = 9; }},
        {"bits = 9", kInvalid, flat, [](Options& o) { o.codec.bits = 9; }},
        {"re-rank bits = 9", kInvalid, flat,
         [](Options& o) { o.rerank = CodecOptions{.bits = 9}; }},
        {"need a rotation", kInvalid, rabitq, [](Options& o) { o.transforms.clear(); }},
        {"residual = false", kInvalid, rabitq, [](Options& o) { o.residual = false; }},
        {"residual = true", kInvalid, flat, [](Options& o) { o.residual = true; }},
        {"cells > 1", kInvalid, flat,
         [](Options& o) {
             o.codec.kind = CodeKind::RangeInt8;
             o.residual = true;
         }},
        {"re-rank store", kInvalid, flat,
         [](Options& o) { o.rerank = CodecOptions{.kind = CodeKind::ScaledInt8}; }},
        {"re-rank store", kInvalid, flat,
         [](Options& o) { o.rerank = CodecOptions{.kind = CodeKind::Bits}; }},
        {"metric 4", kInvalid, flat, [](Options& o) { o.metric = static_cast<Metric>(4); }},
        {"l1 with PQ4", kUnsupported, flat,
         [](Options& o) {
             o.metric = Metric::L1;
             o.codec = {.kind = CodeKind::Product8, .subquantizers = 4};
         }},
        {"1 transforms", kUnsupported, rabitq, [](Options& o) { o.metric = Metric::L1; }},
    };
    for (const Broken& test : table) {
        CellIndexOptions options = test.start();
        ASSERT_NO_THROW(check_options(options)) << test.word;
        test.change(options);
        try {
            check_options(options);
            ADD_FAILURE() << test.word << ": accepted";
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), test.code) << test.word;
            EXPECT_NE(std::string(error.what()).find(test.word), std::string::npos)
                << test.word << " is missing in: " << error.what();
        }
    }
}

TEST(Spec, DimensionsFollowTheTransforms) {
    CellIndexOptions options = flat();
    EXPECT_EQ(transformed_dim(options), 32u);
    options.transforms = {{.kind = TransformKind::Pca, .out_dim = 20},
                          {.kind = TransformKind::Normalize, .out_dim = 20},
                          {.kind = TransformKind::Opq, .subquantizers = 4}};
    EXPECT_EQ(transformed_dim(options), 20u);
    options.transforms.push_back({.kind = TransformKind::RandomRotation, .out_dim = 64});
    EXPECT_EQ(transformed_dim(options), 64u);
}

// PCA without a dimension keeps them all; a string must say how many that is.
TEST(Spec, FormatsPcaWithItsDimension) {
    CellIndexOptions options = flat();
    options.transforms = {{.kind = TransformKind::RandomRotation, .out_dim = 20},
                          {.kind = TransformKind::PcaWhiten}};
    EXPECT_EQ(format_spec(options), "RR20,PCAW20,Flat");
}

}  // namespace
}  // namespace nearcell
