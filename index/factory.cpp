#include <nearcell/index/factory.h>

#include <algorithm>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/index/spec_parts.h>
#include <nearcell/ivf/spec.h>

namespace nearcell {
namespace {

constexpr size_t kMaxSpecLength = 1000;

struct Token {
    std::string_view text;  // without spaces around it
    size_t position = 1;    // of its first character in the string, counted from 1
};

bool is_space(char c) { return c == ' ' || c == '\t'; }

// Splits at commas outside parentheses.
std::vector<Token> split(std::string_view spec) {
    std::vector<Token> tokens;
    size_t depth = 0, start = 0;
    for (size_t at = 0; at <= spec.size(); ++at) {
        const char c = at < spec.size() ? spec[at] : ',';
        if (c == '(') ++depth;
        if (c == ')' && depth > 0) --depth;
        if (c != ',' || (depth > 0 && at < spec.size())) continue;
        size_t first = start, last = at;
        while (first < last && is_space(spec[first]))
            ++first;
        while (last > first && is_space(spec[last - 1]))
            --last;
        tokens.push_back({spec.substr(first, last - first), first + 1});
        start = at + 1;
    }
    return tokens;
}

// Reads the tokens of one string into options, part by part.
class SpecParser {
   public:
    SpecParser(std::string_view spec, CellIndexOptions& options) : spec_(spec), options_(options) {}

    void parse() {
        if (spec_.find_first_not_of(" \t") == std::string_view::npos) {
            fail("is empty: name at least a code, for example Flat or PQ16");
        }
        for (const Token& token : split(spec_)) {
            add(token);
        }
        if (seen_ < PartRole::Code) {
            fail("ends without a code: append one, for example \",Flat\" or \",PQ16\"");
        }
    }

   private:
    template <class... Parts>
    [[noreturn]] void fail(const Parts&... parts) const {
        throw_error(StatusCode::InvalidArgument, "index string \"", spec_, "\" ", parts...);
    }
    template <class... Parts>
    [[noreturn]] void fail_at(const Token& token, const Parts&... parts) const {
        fail("at position ", token.position, ": \"", token.text, "\" ", parts...);
    }

    void add(const Token& token) {
        if (token.text.empty()) {
            fail("at position ", token.position, ": a part is missing beside the comma");
        }
        if (std::count(token.text.begin(), token.text.end(), '(') !=
            std::count(token.text.begin(), token.text.end(), ')')) {
            fail_at(token, "has parentheses that do not match");
        }
        const PartMatch match = match_part(token.text);
        if (match.part == nullptr) fail_at(token, explain_unknown(token.text));
        check_order(token, match.part->role);
        try {
            match.part->apply(match.numbers, options_);
        } catch (const Error& error) {
            fail_at(token, "is out of range: ", error.what());
        }
        if (match.part->role != PartRole::IdMap) seen_ = match.part->role;
        previous_ = token;
    }

    void check_order(const Token& token, PartRole role) const {
        if (role == PartRole::IdMap) {
            if (seen_ == PartRole::Cells) {
                fail_at(token, "stands between cells and code: move it to the front");
            }
            return;
        }
        const bool repeats = role != PartRole::Transform && role == seen_;
        if (repeats) fail_at(token, "is a second part of its kind after \"", previous_.text, "\"");
        if (role < seen_) {
            fail_at(token, "comes too late: the order is transforms, IVF<n>, code, re-rank");
        }
        if (role == PartRole::Rerank && seen_ != PartRole::Code) {
            fail_at(token, "re-ranks nothing: write a code before it, for example PQ16");
        }
    }

    std::string_view spec_;
    CellIndexOptions& options_;
    PartRole seen_ = PartRole::Transform;  // the latest role; transforms are optional
    Token previous_;
};

// A PCA moves the origin: what it gives has other lengths, and inner products are no cosines.
void normalize_components(std::vector<TransformOptions>& transforms) {
    for (size_t i = 0; i < transforms.size(); ++i) {
        const TransformKind kind = transforms[i].kind;
        if (kind != TransformKind::Pca && kind != TransformKind::PcaWhiten) continue;
        const bool follows =
            i + 1 < transforms.size() && transforms[i + 1].kind == TransformKind::Normalize;
        const auto next = transforms.begin() + static_cast<ptrdiff_t>(i) + 1;
        if (!follows) transforms.insert(next, {.kind = TransformKind::Normalize});
    }
}

}  // namespace

CellIndexOptions parse_spec(std::string_view spec, const IndexOptions& options) {
    check(spec.size() <= kMaxSpecLength, StatusCode::InvalidArgument, "the index string has ",
          spec.size(), " characters, more than ", kMaxSpecLength, ": is it a file's content?");
    CellIndexOptions parts;
    parts.dim = options.dim;
    parts.metric = options.metric;
    parts.seed = options.seed;
    SpecParser(spec, parts).parse();
    if (parts.metric == Metric::Cosine) normalize_components(parts.transforms);
    try {
        check_options(parts);
    } catch (const Error& error) {
        throw_error(error.code(), "index string \"", spec, "\" with dimension ", options.dim, ": ",
                    error.what());
    }
    return parts;
}

std::unique_ptr<CellIndex> make_index(std::string_view spec, const IndexOptions& options) {
    return std::make_unique<CellIndex>(parse_spec(spec, options));
}

}  // namespace nearcell
