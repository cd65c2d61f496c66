#include <nearcell/index/spec_parts.h>

#include <algorithm>
#include <limits>
#include <vector>

#include <nearcell/core/error.h>

namespace nearcell {
namespace {

using Options = CellIndexOptions;
using Numbers = PartNumbers;

void require(bool holds, const char* rule) { check(holds, StatusCode::InvalidArgument, rule); }

void add_transform(Options& options, TransformKind kind, size_t out_dim, size_t subquantizers = 0) {
    options.transforms.push_back({kind, out_dim, subquantizers});
}

template <TransformKind kind>
void plain_transform(const Numbers&, Options& options) {
    add_transform(options, kind, 0);
}

template <TransformKind kind>
void pca(const Numbers& n, Options& options) {
    require(n[0] >= 1, "at least one component is needed");
    add_transform(options, kind, n[0]);
}

// PCA's components mixed at random, so that all dimensions vary alike.
template <TransformKind kind>
void rotated_pca(const Numbers& n, Options& options) {
    pca<kind>(n, options);
    add_transform(options, TransformKind::RandomRotation, 0);
}

void rotation(const Numbers& n, Options& options) {
    require(n[0] >= 1, "the dimension to rotate to must be at least 1");
    add_transform(options, TransformKind::RandomRotation, n[0]);
}

void opq(const Numbers& n, Options& options) {
    require(n[0] >= 1, "at least one subquantizer is needed");
    add_transform(options, TransformKind::Opq, 0, n[0]);
}

void opq_to(const Numbers& n, Options& options) {
    require(n[1] >= 1, "the dimension to rotate to must be at least 1");
    opq(n, options);
    options.transforms.back().out_dim = n[1];
}

template <size_t unit>
void cells(const Numbers& n, Options& options) {
    constexpr size_t kMax = std::numeric_limits<size_t>::max();
    require(n[0] >= 1, "at least one cell is needed");
    options.cells = n[0] <= kMax / unit ? n[0] * unit : kMax;  // check_options refuses too many
}

// Whether codes are of x - centroid; WithCells: not in a flat index.
enum class Residual { Never, WithCells, Always };

void set_code(Options& options, const CodecOptions& codec, Residual residual) {
    options.codec = codec;
    options.residual =
        residual == Residual::Always || (residual == Residual::WithCells && options.cells > 1);
}

template <CodeKind kind, Residual residual = Residual::WithCells>
void scalar(const Numbers&, Options& options) {
    set_code(options, {.kind = kind}, residual);
}

template <CodeKind kind, Residual residual = Residual::WithCells>
void product(const Numbers& n, Options& options) {
    require(n[0] >= 1, "at least one subquantizer is needed");
    set_code(options, {.kind = kind, .subquantizers = n[0]}, residual);
}

// In Faiss the r makes fast-scan codes residual, and only cells make sense of it.
void fast_residual(const Numbers& n, Options& options) {
    require(options.cells > 1,
            "codes of residuals (r) need cells: write IVF<n> before it or leave out the r");
    product<CodeKind::Product4>(n, options);
}

void bits(const Numbers& n, Options& options) {
    require(n[0] >= 1 && n[0] <= 8, "RaBitQ codes have 1 to 8 bits a dimension");
    set_code(options, {.kind = CodeKind::Bits, .bits = n[0]}, Residual::Always);
    const auto rotates = [](const TransformOptions& transform) {
        return transform.kind == TransformKind::RandomRotation ||
               transform.kind == TransformKind::Opq;
    };
    if (options.transforms.empty() || !rotates(options.transforms.back())) {
        add_transform(options, TransformKind::RandomRotation, 0);
    }
}

void one_bit(const Numbers&, Options& options) { bits({1, 0}, options); }

// "_<n>", Faiss's number of vectors in a fast-scan batch. nearcell's blocks are of one size: the
// number is checked and changes nothing.
template <void (*code)(const Numbers&, Options&), size_t position>
void batched(const Numbers& n, Options& options) {
    require(n[position] >= 32 && n[position] % 32 == 0,
            "the fast-scan batch must be a multiple of 32");
    code(n, options);
}

template <CodeKind kind>
void rerank(const Numbers&, Options& options) {
    options.rerank = CodecOptions{.kind = kind};
}

void nothing(const Numbers&, Options&) {}

using enum PartRole;
using enum CodeKind;

constexpr void (*kFast)(const Numbers&, Options&) = product<Product4, Residual::Never>;

constexpr SpecPart kParts[] = {
    {"IDMap", IdMap, nothing},
    {"IDMap2", IdMap, nothing},

    {"L2norm", Transform, plain_transform<TransformKind::Normalize>},
    {"L2Norm", Transform, plain_transform<TransformKind::Normalize>},
    {"PCA#", Transform, pca<TransformKind::Pca>},
    {"PCAW#", Transform, pca<TransformKind::PcaWhiten>},
    {"PCAR#", Transform, rotated_pca<TransformKind::Pca>},
    {"PCAWR#", Transform, rotated_pca<TransformKind::PcaWhiten>},
    {"OPQ#", Transform, opq},
    {"OPQ#_#", Transform, opq_to},
    {"RR", Transform, plain_transform<TransformKind::RandomRotation>},
    {"RR#", Transform, rotation},

    {"IVF#", Cells, cells<1>},
    {"IVF#k", Cells, cells<1024>},
    {"IVF#M", Cells, cells<1024 * 1024>},

    {"Flat", Code, scalar<Float32, Residual::Never>},
    {"SQ8", Code, scalar<RangeInt8>},
    {"SQfp16", Code, scalar<Float16>},
    {"SQbf16", Code, scalar<BFloat16>},
    {"I8", Code, scalar<ScaledInt8, Residual::Always>},
    {"PQ#", Code, product<Product8>},
    {"PQ#np", Code, product<Product8>},
    {"PQ#x8", Code, product<Product8>},
    {"PQ#x8np", Code, product<Product8>},
    {"PQ#x4", Code, product<Product4>},
    {"PQ#x4np", Code, product<Product4>},
    {"PQ#x4fs", Code, kFast},
    {"PQ#x4fs_#", Code, batched<kFast, 1>},
    {"PQ#x4fsr", Code, fast_residual},
    {"PQ#x4fsr_#", Code, batched<fast_residual, 1>},
    {"RaBitQ", Code, one_bit},
    {"RaBitQ#", Code, bits},
    {"RaBitQfs", Code, one_bit},
    {"RaBitQfs_#", Code, batched<one_bit, 0>},
    {"RaBitQfs#", Code, bits},
    {"RaBitQfs#_#", Code, batched<bits, 1>},

    // Not Faiss's: codes of x itself in cells.
    {"SQ8nr", Code, scalar<RangeInt8, Residual::Never>},
    {"SQfp16nr", Code, scalar<Float16, Residual::Never>},
    {"SQbf16nr", Code, scalar<BFloat16, Residual::Never>},
    {"PQ#nr", Code, product<Product8, Residual::Never>},

    {"RFlat", Rerank, rerank<Float32>},
    {"Refine(Flat)", Rerank, rerank<Float32>},
    {"Refine(SQ8)", Rerank, rerank<RangeInt8>},
    {"Refine(SQfp16)", Rerank, rerank<Float16>},
    {"Refine(SQbf16)", Rerank, rerank<BFloat16>},
};

// Words of Faiss that nearcell does not build. '*' stands for any rest.
struct ForeignPart {
    std::string_view pattern;
    std::string_view instead;
};
constexpr ForeignPart kForeignParts[] = {
    {"HNSW*", "IVF<n>,Flat"},
    {"NSG*", "IVF<n>,Flat"},
    {"SVS*", "IVF<n>,Flat"},
    {"IVF#_HNSW*", "IVF<n>"},
    {"IVF#_NSG*", "IVF<n>"},
    {"IVF#k_*", "IVF<n>k"},
    {"IVF#M_*", "IVF<n>M"},
    {"IVF#k(*", "IVF<n>k"},
    {"IVF#(*", "IVF<n>"},
    {"IMI*", "IVF<n>"},
    {"Residual*", "IVF<n>"},
    {"(*", "IVF<n>"},
    {"Index#", "IVF<n>"},
    {"FlatDedup", "Flat"},
    {"FlatPanorama*", "Flat"},
    {"FlatL2Panorama*", "Flat"},
    {"FlatIPPanorama*", "Flat"},
    {"RefinePanorama*", "RFlat"},
    {"Refine(*", "Refine(SQ8)"},
    {"LSH*", "RaBitQ"},
    {"SH*", "RaBitQ"},
    {"ITQ*", "RR"},
    {"HR", "RR"},
    {"HR#", "RR"},
    {"Pad#", "PQ<M> (any M will do)"},
    {"EDEN*", "RaBitQ<bits>"},
    {"ZnLattice*", "PQ<M>"},
    {"RQ*", "PQ<M>"},
    {"RCQ*", "PQ<M>"},
    {"LSQ*", "PQ<M>"},
    {"LSCQ*", "PQ<M>"},
    {"PRQ*", "PQ<M>"},
    {"PLSQ*", "PQ<M>"},
    {"PQ#+#", "PQ<M>,RFlat"},
    {"PQ#x#", "PQ<M> or PQ<M>x4"},
    {"PQ#x#np", "PQ<M> or PQ<M>x4"},
    {"SQ0", "SQ8"},
    {"SQ4", "PQ<M>x4"},
    {"SQ6", "SQ8"},
    {"SQ8_direct*", "SQ8"},
    {"SQtq*", "RaBitQ<bits>"},
    {"MinMax*", "SQ8"},
    {"BFlat", "RaBitQ"},
    {"BIVF*", "IVF<n>,RaBitQ"},
    {"BHNSW*", "IVF<n>,RaBitQ"},
    {"BHash*", "IVF<n>,RaBitQ"},
    {"NNDescent*", "IVF<n>,Flat"},
    {"CAGRA*", "IVF<n>,Flat"},
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

enum class Case { Exact, Folded };  // Folded: "ivf64" is written like "IVF#"

// Whether the token is written like the pattern. Numbers too large for size_t become its maximum.
bool matches(std::string_view token, std::string_view pattern, Case letters, Numbers& numbers) {
    numbers = {};
    size_t at = 0, number = 0;
    for (const char expected : pattern) {
        if (expected == '*') return true;
        if (expected != '#') {
            if (at == token.size()) return false;
            const bool same = letters == Case::Exact ? token[at] == expected
                                                     : lower(token[at]) == lower(expected);
            if (!same) return false;
            ++at;
            continue;
        }
        if (at == token.size() || !is_digit(token[at])) return false;
        constexpr size_t kMax = std::numeric_limits<size_t>::max();
        size_t value = 0;
        for (; at < token.size() && is_digit(token[at]); ++at) {
            const size_t digit = static_cast<size_t>(token[at] - '0');
            value = value > (kMax - digit) / 10 ? kMax : value * 10 + digit;
        }
        numbers[number++] = value;
    }
    return at == token.size();
}

// The pattern with the token's numbers in place of '#', as far as there are any.
std::string filled(std::string_view pattern, std::string_view token) {
    std::string text;
    size_t at = 0;
    for (const char c : pattern) {
        while (c == '#' && at < token.size() && !is_digit(token[at]))
            ++at;
        if (c != '#' || at == token.size()) {
            text += c;
            continue;
        }
        while (at < token.size() && is_digit(token[at]))
            text += token[at++];
    }
    return text;
}

// Edits that turn a into b; a letter of the wrong case is a quarter of one.
size_t edit_distance(std::string_view a, std::string_view b) {
    constexpr size_t kEdit = 4;
    std::vector<size_t> row(b.size() + 1);
    for (size_t j = 0; j <= b.size(); ++j)
        row[j] = j * kEdit;
    for (size_t i = 1; i <= a.size(); ++i) {
        size_t diagonal = row[0];
        row[0] = i * kEdit;
        for (size_t j = 1; j <= b.size(); ++j) {
            const char x = a[i - 1], y = b[j - 1];
            const size_t change = x == y ? 0 : lower(x) == lower(y) ? 1 : kEdit;
            const size_t best = std::min({diagonal + change, row[j] + kEdit, row[j - 1] + kEdit});
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[b.size()];
}

std::string with_placeholders(std::string text) {
    for (size_t at = text.find('#'); at != std::string::npos; at = text.find('#')) {
        text.replace(at, 1, "<n>");
    }
    return text;
}

std::string nearest_part(std::string_view token) {
    std::string nearest;
    size_t least = std::numeric_limits<size_t>::max();
    for (const SpecPart& part : kParts) {
        std::string candidate = filled(part.pattern, token);
        const size_t distance = edit_distance(token, candidate);
        if (distance >= least) continue;
        least = distance;
        nearest = std::move(candidate);
    }
    return with_placeholders(nearest);
}

}  // namespace

PartMatch match_part(std::string_view token) {
    Numbers numbers;
    for (const SpecPart& part : kParts) {
        if (matches(token, part.pattern, Case::Exact, numbers)) return {&part, numbers};
    }
    return {};
}

std::string explain_unknown(std::string_view token) {
    Numbers numbers;
    for (const SpecPart& part : kParts) {
        if (matches(token, part.pattern, Case::Folded, numbers)) {
            return "is not a part; did you mean \"" + filled(part.pattern, token) + "\"?";
        }
    }
    for (const ForeignPart& part : kForeignParts) {
        if (matches(token, part.pattern, Case::Folded, numbers)) {
            return "is known to Faiss, but not built here; the nearest that is: " +
                   std::string(part.instead);
        }
    }
    return "is not a part of index strings; the nearest one is \"" + nearest_part(token) + "\"";
}

}  // namespace nearcell
