// Index strings: what is accepted builds the right parts, what is refused says where and why, and
// format_spec is the inverse of parse_spec.
#include <nearcell/index/factory.h>

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>
#include <nearcell/ivf/spec.h>

namespace nearcell {
namespace {

constexpr size_t kDim = 48;

std::string describe(const CodecOptions& codec) {
    std::ostringstream text;
    text << static_cast<int>(codec.kind) << '/' << codec.subquantizers << '/' << codec.bits;
    return text.str();
}

// Everything that a string decides.
std::string describe(const CellIndexOptions& options) {
    std::ostringstream text;
    for (const TransformOptions& transform : options.transforms) {
        text << static_cast<int>(transform.kind) << ':' << transform.out_dim << ':'
             << transform.subquantizers << ' ';
    }
    text << "cells " << options.cells << " codec " << describe(options.codec)
         << (options.residual ? " residual" : "");
    if (options.rerank) text << " rerank " << describe(*options.rerank);
    return text.str();
}

CellIndexOptions parse(const std::string& spec, Metric metric = Metric::L2, size_t dim = kDim) {
    return parse_spec(spec, {.dim = dim, .metric = metric});
}

Status refusal(const std::string& spec, Metric metric = Metric::L2) {
    try {
        parse(spec, metric);
    } catch (const Error& error) {
        return error.status();
    }
    ADD_FAILURE() << '"' << spec << "\" was accepted";
    return {StatusCode::Io, ""};
}

CellIndexOptions built(std::vector<TransformOptions> transforms, size_t cells, CodecOptions codec,
                       bool residual, std::optional<CodeKind> rerank = std::nullopt) {
    CellIndexOptions options;
    options.dim = kDim;
    options.transforms = std::move(transforms);
    options.cells = cells;
    options.codec = codec;
    options.residual = residual;
    if (rerank) options.rerank = CodecOptions{.kind = *rerank};
    return options;
}

CodecOptions product(size_t subquantizers, CodeKind kind = CodeKind::Product8) {
    return {.kind = kind, .subquantizers = subquantizers};
}
CodecOptions bits(size_t count) { return {.kind = CodeKind::Bits, .bits = count}; }

const TransformOptions kNormalize{.kind = TransformKind::Normalize};
const TransformOptions kRotation{.kind = TransformKind::RandomRotation};
TransformOptions pca(size_t dim) { return {.kind = TransformKind::Pca, .out_dim = dim}; }
TransformOptions opq(size_t subquantizers, size_t dim = 0) {
    return {.kind = TransformKind::Opq, .out_dim = dim, .subquantizers = subquantizers};
}
TransformOptions rotation(size_t dim) {
    return {.kind = TransformKind::RandomRotation, .out_dim = dim};
}

struct Accepted {
    const char* spec;
    const char* canonical;
    CellIndexOptions options;
};

std::vector<Accepted> accepted() {
    using enum CodeKind;
    const CodecOptions flat{};
    const CodecOptions sq8{.kind = RangeInt8};
    const CodecOptions pq4 = product(8, Product4);
    return {
        {"Flat", "Flat", built({}, 1, flat, false)},
        {"SQ8", "SQ8", built({}, 1, sq8, false)},
        {"SQfp16", "SQfp16", built({}, 1, {.kind = Float16}, false)},
        {"SQbf16", "SQbf16", built({}, 1, {.kind = BFloat16}, false)},
        {"I8", "I8", built({}, 1, {.kind = ScaledInt8}, true)},
        {"PQ7", "PQ7", built({}, 1, product(7), false)},
        {"PQ8x4", "PQ8x4fs", built({}, 1, pq4, false)},
        {"PQ8x4fs", "PQ8x4fs", built({}, 1, pq4, false)},
        {"PQ8x4fs_64", "PQ8x4fs", built({}, 1, pq4, false)},
        {"RaBitQ", "RaBitQ", built({kRotation}, 1, bits(1), true)},
        {"RaBitQ1", "RaBitQ", built({kRotation}, 1, bits(1), true)},
        {"RaBitQfs", "RaBitQ", built({kRotation}, 1, bits(1), true)},
        {"RaBitQfs_64", "RaBitQ", built({kRotation}, 1, bits(1), true)},
        {"RaBitQfs4_64", "RaBitQ4", built({kRotation}, 1, bits(4), true)},
        {"IVF64,Flat", "IVF64,Flat", built({}, 64, flat, false)},
        {"IVF1k,Flat", "IVF1024,Flat", built({}, 1024, flat, false)},
        {"IVF2M,Flat", "IVF2097152,Flat", built({}, 2097152, flat, false)},
        {"IVF064,Flat", "IVF64,Flat", built({}, 64, flat, false)},
        {"IVF1,PQ8", "PQ8", built({}, 1, product(8), false)},
        {"IVF64,SQ8", "IVF64,SQ8", built({}, 64, sq8, true)},
        {"IVF64,SQ8nr", "IVF64,SQ8nr", built({}, 64, sq8, false)},
        {"SQ8nr", "SQ8", built({}, 1, sq8, false)},
        {"IVF64,SQfp16", "IVF64,SQfp16", built({}, 64, {.kind = Float16}, true)},
        {"IVF64,SQbf16nr", "IVF64,SQbf16nr", built({}, 64, {.kind = BFloat16}, false)},
        {"IVF64,I8", "IVF64,I8", built({}, 64, {.kind = ScaledInt8}, true)},
        {"IVF64,PQ8", "IVF64,PQ8", built({}, 64, product(8), true)},
        {"IVF64,PQ8x8np", "IVF64,PQ8", built({}, 64, product(8), true)},
        {"IVF64,PQ8nr", "IVF64,PQ8nr", built({}, 64, product(8), false)},
        {"IVF64,PQ8x4", "IVF64,PQ8x4fsr", built({}, 64, pq4, true)},
        {"IVF64,PQ8x4np", "IVF64,PQ8x4fsr", built({}, 64, pq4, true)},
        {"IVF64,PQ8x4fs", "IVF64,PQ8x4fs", built({}, 64, pq4, false)},
        {"IVF64,PQ8x4fsr_32", "IVF64,PQ8x4fsr", built({}, 64, pq4, true)},
        {"IVF64,RaBitQ4", "IVF64,RaBitQ4", built({kRotation}, 64, bits(4), true)},
        {"RR,IVF64,RaBitQ4", "IVF64,RaBitQ4", built({kRotation}, 64, bits(4), true)},
        {"RR32,RaBitQ", "RR32,RaBitQ", built({rotation(32)}, 1, bits(1), true)},
        {"OPQ8,RaBitQ8", "OPQ8,RaBitQ8", built({opq(8)}, 1, bits(8), true)},
        {"OPQ8,RR,RaBitQ", "OPQ8,RR,RaBitQ", built({opq(8), kRotation}, 1, bits(1), true)},
        {"PCA32,RaBitQ", "PCA32,RaBitQ", built({pca(32), kRotation}, 1, bits(1), true)},
        {"PCA32,IVF64,PQ8", "PCA32,IVF64,PQ8", built({pca(32)}, 64, product(8), true)},
        {"PCAR32,SQ8", "PCA32,RR,SQ8", built({pca(32), kRotation}, 1, sq8, false)},
        {"PCAW32,Flat", "PCAW32,Flat",
         built({{.kind = TransformKind::PcaWhiten, .out_dim = 32}}, 1, flat, false)},
        {"OPQ8_32,IVF64,PQ8x4fsr", "OPQ8_32,IVF64,PQ8x4fsr", built({opq(8, 32)}, 64, pq4, true)},
        {"OPQ16_64,PQ8", "OPQ16_64,PQ8", built({opq(16, 64)}, 1, product(8), false)},
        {"RR64,SQ8", "RR64,SQ8", built({rotation(64)}, 1, sq8, false)},
        {"L2norm,Flat", "L2norm,Flat", built({kNormalize}, 1, flat, false)},
        {"L2Norm,PCA16,Flat", "L2norm,PCA16,Flat", built({kNormalize, pca(16)}, 1, flat, false)},
        {"Flat,RFlat", "Flat,RFlat", built({}, 1, flat, false, Float32)},
        {"IVF64,PQ8x4fs,RFlat", "IVF64,PQ8x4fs,RFlat", built({}, 64, pq4, false, Float32)},
        {"PQ8,Refine(Flat)", "PQ8,RFlat", built({}, 1, product(8), false, Float32)},
        {"PQ8,Refine(SQ8)", "PQ8,Refine(SQ8)", built({}, 1, product(8), false, RangeInt8)},
        {"PQ8,Refine(SQfp16)", "PQ8,Refine(SQfp16)", built({}, 1, product(8), false, Float16)},
        {"PQ8,Refine(SQbf16)", "PQ8,Refine(SQbf16)", built({}, 1, product(8), false, BFloat16)},
        {"IDMap,Flat", "Flat", built({}, 1, flat, false)},
        {"Flat,IDMap2", "Flat", built({}, 1, flat, false)},
        {"PCA32,IDMap,Flat", "PCA32,Flat", built({pca(32)}, 1, flat, false)},
        {"IVF64,PQ8,IDMap,RFlat", "IVF64,PQ8,RFlat", built({}, 64, product(8), true, Float32)},
        {"  PCA32 , IVF64 ,\tFlat ", "PCA32,IVF64,Flat", built({pca(32)}, 64, flat, false)},
    };
}

TEST(Factory, BuildsTheNamedParts) {
    for (const Accepted& test : accepted()) {
        const CellIndexOptions options = parse(test.spec);
        EXPECT_EQ(describe(options), describe(test.options)) << test.spec;
        EXPECT_EQ(format_spec(options), test.canonical) << test.spec;
        EXPECT_EQ(describe(parse(test.canonical)), describe(options)) << test.canonical;
    }
}

TEST(Factory, KeepsDimensionMetricAndSeed) {
    const CellIndexOptions options =
        parse_spec("IVF8,Flat", {.dim = 7, .metric = Metric::Cosine, .seed = 99});
    EXPECT_EQ(options.dim, 7u);
    EXPECT_EQ(options.metric, Metric::Cosine);
    EXPECT_EQ(options.seed, 99u);
}

TEST(Factory, ErrorsNameTokenPositionAndRemedy) {
    struct Refused {
        const char* spec;
        std::vector<const char*> words;
    };
    const std::vector<Refused> table = {
        {"", {"empty", "Flat"}},
        {"   ", {"empty"}},
        {"IVF64", {"ends without a code"}},
        {"PCA32", {"ends without a code"}},
        {"IDMap", {"ends without a code"}},
        {"IVF64,", {"position 7", "missing"}},
        {",Flat", {"position 1", "missing"}},
        {"IVF64,,Flat", {"position 7", "missing"}},
        {"flat", {"position 1", "\"flat\"", "did you mean \"Flat\""}},
        {"ivf64,flat", {"position 1", "\"ivf64\"", "did you mean \"IVF64\""}},
        {"IVF64, flat", {"position 8", "did you mean \"Flat\""}},
        {"IVF64K,Flat", {"did you mean \"IVF64k\""}},
        {"opq16_64,PQ16X4FS", {"did you mean \"OPQ16_64\""}},
        {"IVF64,PQ16X4FS", {"position 7", "did you mean \"PQ16x4fs\""}},
        {"PQ8,refine(sq8)", {"did you mean \"Refine(SQ8)\""}},
        {"IVF,Flat", {"position 1", "nearest one is \"IVF<n>\""}},
        {"IVF64,Falt", {"position 7", "nearest one is \"Flat\""}},
        {"IVF64,SQ9", {"nearest one is \"SQ8\""}},
        {"IVF64,PQ", {"nearest one is \"PQ<n>\""}},
        {"PQ16x8fs", {"nearest one is \"PQ16x"}},
        {"PCA,Flat", {"nearest one is \"PCA<n>\""}},
        {"IVF64,RaBitQfs4_", {"nearest one is \"RaBitQfs4\""}},
        {"I V F64,Flat", {"position 1"}},
        {"IVF0,Flat", {"position 1", "\"IVF0\"", "at least one cell"}},
        {"IVF99999999999999999999,Flat", {"cells = 18446744073709551615", "16777216"}},
        {"IVF17M,Flat", {"cells = 17825792", "16777216"}},
        {"IVF18446744073709551615M,Flat", {"cells = "}},
        {"PQ0", {"\"PQ0\"", "at least one subquantizer"}},
        {"PQ49", {"subquantizers = 49", "[1, 48]"}},
        {"PCA32,PQ33", {"subquantizers = 33", "[1, 32]"}},
        {"PCA0,Flat", {"\"PCA0\"", "at least one component"}},
        {"PCA49,Flat", {"PCA out_dim = 49", "[1, 48]"}},
        {"PCA32,PCA33,Flat", {"PCA out_dim = 33", "[1, 32]"}},
        {"OPQ0,PQ8", {"\"OPQ0\""}},
        {"OPQ8_0,PQ8", {"\"OPQ8_0\""}},
        {"OPQ49,PQ8", {"OPQ subquantizers = 49"}},
        {"RR0,Flat", {"\"RR0\""}},
        {"RR65537,Flat", {"rotation out_dim = 65537", "65536"}},
        {"RaBitQ0", {"\"RaBitQ0\"", "1 to 8"}},
        {"RaBitQ9", {"\"RaBitQ9\"", "1 to 8"}},
        {"PQ16x4fs_48", {"\"PQ16x4fs_48\"", "multiple of 32"}},
        {"RaBitQfs_0", {"multiple of 32"}},
        {"PQ16x4fsr", {"\"PQ16x4fsr\"", "need cells"}},
        {"Flat,PQ16", {"position 6", "\"PQ16\"", "second part of its kind"}},
        {"IVF64,IVF32,Flat", {"position 7", "second part of its kind"}},
        {"PQ8,RFlat,RFlat", {"position 11", "second part of its kind"}},
        {"Flat,PCA32", {"position 6", "\"PCA32\"", "too late"}},
        {"IVF64,PCA32,Flat", {"position 7", "too late"}},
        {"Flat,IVF64", {"position 6", "too late"}},
        {"RFlat", {"position 1", "re-ranks nothing"}},
        {"IVF64,RFlat", {"position 7", "re-ranks nothing"}},
        {"IVF64,IDMap,Flat", {"position 7", "\"IDMap\"", "move it to the front"}},
        {"PQ8,Refine(SQ8", {"position 5", "parentheses"}},
        {"Flat)", {"parentheses"}},
    };
    for (const Refused& test : table) {
        const Status status = refusal(test.spec);
        EXPECT_EQ(status.code, StatusCode::InvalidArgument) << test.spec;
        for (const char* word : test.words) {
            EXPECT_NE(status.message.find(word), std::string::npos)
                << '"' << test.spec << "\": " << word << " is missing in: " << status.message;
        }
    }
}

TEST(Factory, SaysWhatIsKnownToFaissOnly) {
    for (const char* spec : {"HNSW32",
                             "HNSW32,SQ8",
                             "HNSW",
                             "NSG32,Flat",
                             "IVF64_HNSW32,Flat",
                             "IVF64_HNSW,Flat",
                             "IVF4k_HNSW32,Flat",
                             "IVF64_NSG16,PQ8",
                             "IVF64(PQ8),Flat",
                             "IVF64(IVF8,Flat),Flat",
                             "IMI2x8,PQ8",
                             "Residual64,Flat",
                             "LSH",
                             "LSH128rt",
                             "RQ4x8",
                             "IVF64,LSQ4x8",
                             "PRQ4x2x8",
                             "PLSQ4x2x8",
                             "ITQ32,LSH",
                             "IVF64,ITQ,SH",
                             "ZnLattice8x10_4",
                             "SQ4",
                             "IVF64,SQ6",
                             "SQ8_direct",
                             "SQ8_direct_signed",
                             "SQtqmse4",
                             "EDEN4",
                             "IVF64,FlatDedup",
                             "IVF64,FlatPanorama8",
                             "FlatL2Panorama8_1",
                             "PQ8,RefinePanorama(Flat)",
                             "PQ8,Refine(PQ24x12)",
                             "Pad64,PQ16",
                             "HR,RaBitQ",
                             "HR7,RaBitQ",
                             "IVF64,PQ8x12",
                             "PQ8+8",
                             "PQ8x6np",
                             "MinMax,SQ8",
                             "BFlat",
                             "BIVF64",
                             "SVSVamana32,LVQ4x8",
                             "hnsw32"}) {
        const Status status = refusal(spec);
        EXPECT_EQ(status.code, StatusCode::InvalidArgument) << spec;
        EXPECT_NE(status.message.find("known to Faiss, but not built here"), std::string::npos)
            << spec << ": " << status.message;
        EXPECT_NE(status.message.find("position"), std::string::npos) << status.message;
    }
}

TEST(Factory, CosinesAreOfComponents) {
    IndexOptions options;
    options.dim = 64;
    options.metric = Metric::Cosine;
    for (const auto& [spec, canonical] : std::vector<std::pair<const char*, const char*>>{
             {"PCA32,IVF64,PQ8", "PCA32,L2norm,IVF64,PQ8"},
             {"PCAW32,Flat", "PCAW32,L2norm,Flat"},
             {"PCAR32,SQ8", "PCA32,L2norm,RR,SQ8"},
             {"PCA32,L2norm,Flat", "PCA32,L2norm,Flat"},
             {"L2norm,PCA32,Flat", "L2norm,PCA32,L2norm,Flat"},
             {"PCA32,RaBitQ", "PCA32,L2norm,RaBitQ"},
             {"PCA32,PCA16,SQ8", "PCA32,L2norm,PCA16,L2norm,SQ8"},
             {"OPQ8,PQ8", "OPQ8,PQ8"}}) {
        EXPECT_EQ(format_spec(parse_spec(spec, options)), canonical);
        EXPECT_EQ(format_spec(parse_spec(canonical, options)), canonical);
    }
    options.metric = Metric::InnerProduct;
    EXPECT_EQ(format_spec(parse_spec("PCA32,SQ8", options)), "PCA32,SQ8");
}

TEST(Factory, L1IsForPlainCodesWithoutTransforms) {
    for (const char* spec : {"Flat", "IVF64,Flat", "SQ8", "IVF64,SQfp16", "SQbf16,RFlat"}) {
        EXPECT_EQ(parse(spec, Metric::L1).metric, Metric::L1) << spec;
    }
    for (const char* spec : {"PQ8", "IVF64,PQ8x4fs,RFlat", "RaBitQ", "I8", "PCA32,Flat", "RR,Flat",
                             "L2norm,Flat", "OPQ8,SQ8"}) {
        const Status status = refusal(spec, Metric::L1);
        EXPECT_EQ(status.code, StatusCode::Unsupported) << spec;
        EXPECT_NE(status.message.find("l1"), std::string::npos) << status.message;
    }
}

TEST(Factory, RefusesImpossibleDimensions) {
    for (const size_t dim : {size_t{0}, kMaxDim + 1}) {
        try {
            parse("Flat", Metric::L2, dim);
            ADD_FAILURE() << "dimension " << dim << " was accepted";
        } catch (const Error& error) {
            EXPECT_NE(std::string(error.what()).find("dim = " + std::to_string(dim)),
                      std::string::npos);
        }
    }
    EXPECT_EQ(parse("PQ65536", Metric::L2, kMaxDim).codec.subquantizers, kMaxDim);
}

TransformOptions random_transform(size_t dim, Random& random) {
    switch (random.below(6)) {
        case 0: return kNormalize;
        case 1: return pca(1 + random.below(dim));
        case 2: return {.kind = TransformKind::PcaWhiten, .out_dim = 1 + random.below(dim)};
        case 3: return kRotation;
        case 4: return rotation(1 + random.below(2 * dim));
        default: {
            const size_t out_dim = random.below(2) == 0 ? 0 : 1 + random.below(2 * dim);
            return opq(1 + random.below(out_dim == 0 ? dim : out_dim), out_dim);
        }
    }
}

// Options that check_options accepts, of every kind.
CellIndexOptions random_options(Random& random) {
    CellIndexOptions options;
    options.dim = 1 + random.below(300);
    for (size_t i = random.below(4); i > 0; --i) {
        options.transforms.push_back(random_transform(transformed_dim(options), random));
    }
    options.cells = random.below(3) == 0 ? 1 : 1 + random.below(kMaxCells);
    options.codec.kind = static_cast<CodeKind>(random.below(8));
    switch (options.codec.kind) {
        case CodeKind::Float32: break;
        case CodeKind::ScaledInt8: options.residual = true; break;
        case CodeKind::Bits:
            options.residual = true;
            options.codec.bits = 1 + random.below(8);
            if (options.transforms.empty() ||
                options.transforms.back().kind != TransformKind::Opq) {
                options.transforms.push_back(kRotation);
            }
            break;
        case CodeKind::Product8:
        case CodeKind::Product4:
            options.codec.subquantizers = 1 + random.below(transformed_dim(options));
            [[fallthrough]];
        default: options.residual = options.cells > 1 && random.below(2) == 0;
    }
    if (random.below(2) == 0) {
        options.rerank = CodecOptions{.kind = static_cast<CodeKind>(random.below(4))};
    }
    return options;
}

TEST(Factory, ParseIsTheInverseOfFormat) {
    Random random(1);
    for (int i = 0; i < 5000; ++i) {
        const CellIndexOptions options = random_options(random);
        ASSERT_NO_THROW(check_options(options)) << describe(options);
        const std::string spec = format_spec(options);
        const CellIndexOptions again = parse_spec(spec, {.dim = options.dim});
        ASSERT_EQ(describe(again), describe(options)) << spec;
        ASSERT_EQ(format_spec(again), spec);
    }
}

// Whatever the string, it is parsed to something that round trips, or refused with an Error.
TEST(Factory, SurvivesMutatedStrings) {
    const std::string alphabet = "IVFPQRaBitxfsrOCALn2normeSkM0123456789_,() \t*#\\\xff";
    const std::vector<Accepted> seeds = accepted();
    Random random(2);
    size_t parsed = 0;
    for (int i = 0; i < 20000; ++i) {
        std::string spec = seeds[random.below(seeds.size())].spec;
        for (size_t edits = 1 + random.below(3); edits > 0; --edits) {
            const size_t at = random.below(spec.size() + 1);
            const char c = alphabet[random.below(alphabet.size())];
            switch (random.below(3)) {
                case 0: spec.insert(at, 1, c); break;
                case 1: spec.erase(at, 1); break;
                default: spec.replace(at, 1, 1, c); break;
            }
        }
        try {
            const CellIndexOptions options = parse(spec);
            ASSERT_EQ(describe(parse(format_spec(options))), describe(options)) << spec;
            ++parsed;
        } catch (const Error& error) {
            ASSERT_EQ(error.code(), StatusCode::InvalidArgument) << spec;
        }
    }
    EXPECT_GT(parsed, 500u);
    EXPECT_THROW(parse(std::string(100000, '(')), Error);
}

}  // namespace
}  // namespace nearcell
