#include <nearcell/ivf/spec.h>

#include <nearcell/core/error.h>

namespace nearcell {
namespace {

template <class... Parts>
void require(bool holds, const Parts&... parts) {
    check(holds, StatusCode::InvalidArgument, parts...);
}

void require_range(const char* option, size_t value, size_t low, size_t high, const char* remedy) {
    require(value >= low && value <= high, option, " = ", value, " is outside [", low, ", ", high,
            "]: ", remedy);
}

size_t output_dim(const TransformOptions& transform, size_t dim) {
    return transform.out_dim == 0 ? dim : transform.out_dim;
}

bool is_product(CodeKind kind) { return kind == CodeKind::Product8 || kind == CodeKind::Product4; }

// Codes that exist relative to a centroid only; a flat index has one, the mean.
bool is_always_residual(CodeKind kind) {
    return kind == CodeKind::ScaledInt8 || kind == CodeKind::Bits;
}

bool is_plain(CodeKind kind) {
    return kind == CodeKind::Float32 || kind == CodeKind::Float16 || kind == CodeKind::BFloat16 ||
           kind == CodeKind::RangeInt8;
}

bool is_rotation(const TransformOptions& transform) {
    return transform.kind == TransformKind::RandomRotation || transform.kind == TransformKind::Opq;
}

void check_transform(const TransformOptions& transform, size_t dim) {
    const size_t out_dim = output_dim(transform, dim);
    switch (transform.kind) {
        case TransformKind::Normalize:
            require(out_dim == dim, "Normalize out_dim = ", out_dim, " is not its input's ", dim,
                    " dimensions, which it keeps: leave it 0");
            return;
        case TransformKind::Pca:
        case TransformKind::PcaWhiten:
            require_range(
                "PCA out_dim", out_dim, 1, dim,
                "keep at most as many components as the transform's input has dimensions");
            return;
        case TransformKind::Opq:
            require_range("OPQ out_dim", out_dim, 1, kMaxDim, "pass the dimension to rotate to");
            require_range("OPQ subquantizers", transform.subquantizers, 1, out_dim,
                          "pass the M of the product codes that follow");
            return;
        case TransformKind::RandomRotation:
            require_range("rotation out_dim", out_dim, 1, kMaxDim,
                          "pass the dimension to rotate to");
            return;
    }
    throw_error(StatusCode::InvalidArgument, "transform kind ",
                static_cast<uint32_t>(transform.kind), " is unknown: use one of TransformKind");
}

void check_codec(const CellIndexOptions& options, size_t dim) {
    const CodecOptions& codec = options.codec;
    require(is_plain(codec.kind) || is_product(codec.kind) || is_always_residual(codec.kind),
            "codec kind ", static_cast<uint32_t>(codec.kind), " is unknown: use one of CodeKind");
    if (is_product(codec.kind)) {
        require_range("subquantizers", codec.subquantizers, 1, dim,
                      "use at most one subquantizer a dimension (counted after the transforms)");
    }
    require_range("bits", codec.bits, codec.kind == CodeKind::Bits ? 1 : 0, 8,
                  "pass the bits of a RaBitQ code a dimension; other codes have none to choose");
    if (codec.kind == CodeKind::Bits) {
        require(!options.transforms.empty() && is_rotation(options.transforms.back()),
                "RaBitQ codes need a rotation as the last transform: append RandomRotation");
    }
    if (is_always_residual(codec.kind)) {
        require(options.residual,
                "residual = false is impossible for I8 and RaBitQ codes, which are ",
                "relative to a centroid (flat: to the mean): set residual = true");
    } else if (options.residual) {
        require(codec.kind != CodeKind::Float32,
                "residual = true gains nothing for float32 codes: set residual = false");
        require(options.cells > 1, "residual = true needs cells > 1, not ", options.cells,
                ": use more cells or set residual = false");
    }
}

void check_metric(const CellIndexOptions& options) {
    const uint32_t metric = static_cast<uint32_t>(options.metric);
    require(metric <= static_cast<uint32_t>(Metric::L1), "metric ", metric,
            " is unknown: use l2, ip, cosine or l1");
    if (options.metric != Metric::L1) return;
    check(options.transforms.empty(), StatusCode::Unsupported, "metric l1 with ",
          options.transforms.size(), " transforms is not available, for no transform keeps L1 ",
          "distances: drop them or use l2");
    check(is_plain(options.codec.kind), StatusCode::Unsupported, "metric l1 with ",
          format_spec(options), " is not available: use Flat, SQ8, SQfp16 or SQbf16 codes, or l2");
}

std::string transform_spec(const TransformOptions& transform, size_t dim) {
    const std::string given = transform.out_dim == 0 ? "" : std::to_string(transform.out_dim);
    switch (transform.kind) {
        case TransformKind::Normalize: return "L2norm";
        case TransformKind::Pca: return "PCA" + std::to_string(output_dim(transform, dim));
        case TransformKind::PcaWhiten: return "PCAW" + std::to_string(output_dim(transform, dim));
        case TransformKind::Opq:
            return "OPQ" + std::to_string(transform.subquantizers) +
                   (given.empty() ? "" : "_" + given);
        case TransformKind::RandomRotation: return "RR" + given;
    }
    return "?";
}

// Whether parse_spec adds transform i by itself: the rotation that RaBitQ codes need.
bool is_implied(const CellIndexOptions& options, size_t i) {
    const std::vector<TransformOptions>& transforms = options.transforms;
    return options.codec.kind == CodeKind::Bits && i + 1 == transforms.size() &&
           transforms[i].kind == TransformKind::RandomRotation && transforms[i].out_dim == 0 &&
           (i == 0 || !is_rotation(transforms[i - 1]));
}

std::string code_spec(const CellIndexOptions& options) {
    const CodecOptions& codec = options.codec;
    const std::string product = "PQ" + std::to_string(codec.subquantizers);
    // Residual codes are the default with cells, and impossible without.
    const char* whole = options.cells > 1 && !options.residual ? "nr" : "";
    switch (codec.kind) {
        case CodeKind::Float32: return "Flat";
        case CodeKind::Float16: return std::string("SQfp16") + whole;
        case CodeKind::BFloat16: return std::string("SQbf16") + whole;
        case CodeKind::RangeInt8: return std::string("SQ8") + whole;
        case CodeKind::ScaledInt8: return "I8";
        case CodeKind::Product8: return product + whole;
        case CodeKind::Product4: return product + (options.residual ? "x4fsr" : "x4fs");
        case CodeKind::Bits: return "RaBitQ" + (codec.bits == 1 ? "" : std::to_string(codec.bits));
    }
    return "?";
}

std::string rerank_spec(CodeKind kind) {
    switch (kind) {
        case CodeKind::Float32: return "RFlat";
        case CodeKind::Float16: return "Refine(SQfp16)";
        case CodeKind::BFloat16: return "Refine(SQbf16)";
        case CodeKind::RangeInt8: return "Refine(SQ8)";
        default: return "?";
    }
}

}  // namespace

size_t transformed_dim(const CellIndexOptions& options) {
    size_t dim = options.dim;
    for (const TransformOptions& transform : options.transforms)
        dim = output_dim(transform, dim);
    return dim;
}

void check_options(const CellIndexOptions& options) {
    require_range("dim", options.dim, 1, kMaxDim, "pass the number of values in a vector");
    require_range("cells", options.cells, 1, kMaxCells, "1 is a flat index");
    require_range("transforms", options.transforms.size(), 0, kMaxTransforms,
                  "use fewer transforms");
    size_t dim = options.dim;
    for (const TransformOptions& transform : options.transforms) {
        check_transform(transform, dim);
        dim = output_dim(transform, dim);
    }
    check_codec(options, dim);
    require(!options.rerank || is_plain(options.rerank->kind),
            "the re-rank store must be float32, float16, bfloat16 or 8-bit: use RFlat or ",
            "Refine(SQ8 | SQfp16 | SQbf16)");
    if (options.rerank)
        require_range("re-rank bits", options.rerank->bits, 0, 8, "leave it as it is");
    check_metric(options);
}

std::string format_spec(const CellIndexOptions& options) {
    std::string spec;
    size_t dim = options.dim;
    for (size_t i = 0; i < options.transforms.size(); ++i) {
        if (!is_implied(options, i)) spec += transform_spec(options.transforms[i], dim) + ",";
        dim = output_dim(options.transforms[i], dim);
    }
    if (options.cells > 1) {
        spec += "IVF";
        spec += std::to_string(options.cells);
        spec += ',';
    }
    spec += code_spec(options);
    if (options.rerank) {
        spec += ',';
        spec += rerank_spec(options.rerank->kind);
    }
    return spec;
}

}  // namespace nearcell
