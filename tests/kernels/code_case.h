// Random codes of any kind: the parameters a CodeView points to, and words that decode to sane
// floats (product codes with sub-spaces of uneven widths). The codes mean nothing; every decoder
// must agree on what they say.
#pragma once

#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include <nearcell/core/half.h>
#include <nearcell/core/random.h>
#include <nearcell/kernels/code_view.h>

#include "tile_case.h"

namespace nearcell::checks {

constexpr CodeKind kAllKinds[] = {CodeKind::Float32,   CodeKind::Float16,    CodeKind::BFloat16,
                                  CodeKind::RangeInt8, CodeKind::ScaledInt8, CodeKind::Product8,
                                  CodeKind::Product4,  CodeKind::Bits};

class CodeCase {
   public:
    // factors: of RangeInt8, as scans by integers need them.
    CodeCase(CodeKind kind, size_t dim, size_t bits, Random& random, bool factors = false)
        : offset_(dim, Values::Plain, random), step_(dim, Values::Plain, random), codebooks_(0) {
        view_.kind = kind;
        view_.dim = dim;
        view_.bits = kind == CodeKind::Bits ? bits : 0;
        view_.factors = factors;
        const bool product = kind == CodeKind::Product8 || kind == CodeKind::Product4;
        if (product) draw_subspaces(kind == CodeKind::Product8 ? 256 : 16, random);
        view_.words = words();
    }
    CodeCase(const CodeCase&) = delete;
    CodeCase& operator=(const CodeCase&) = delete;

    CodeView view() const {
        CodeView view = view_;
        if (view.kind == CodeKind::RangeInt8) {
            view.offset = offset_.data();
            view.step = step_.data();
        }
        view.sub_begin = sub_begin_.empty() ? nullptr : sub_begin_.data();
        view.codebooks = codebooks_.size() == 0 ? nullptr : codebooks_.data();
        return view;
    }
    // The words of one vector. `any`: every bit pattern that floats and halves can have.
    std::vector<uint32_t> draw_row(Random& random, bool any) const {
        std::vector<uint32_t> row(view_.words);
        for (size_t w = 0; w < row.size(); ++w)
            row[w] = draw_word(w, random, any);
        return row;
    }

   private:
    void draw_subspaces(size_t entries, Random& random) {
        view_.subquantizers = 1 + random.below(std::min(view_.dim, 8 * kMostLookupLines));
        sub_begin_.push_back(0);
        const size_t width = random.below(5);  // of all subspaces, or any
        if (width != 0 && view_.dim % width == 0 && view_.dim / width <= 8 * kMostLookupLines) {
            view_.subquantizers = view_.dim / width;
            view_.sub_width = width;
        }
        for (size_t m = 1; view_.sub_width != 0 && m < view_.subquantizers; ++m)
            sub_begin_.push_back(static_cast<uint32_t>(m * width));
        for (size_t m = 1; view_.sub_width == 0 && m < view_.subquantizers; ++m) {
            const size_t left = view_.subquantizers - m;  // sub-spaces that still need a dimension
            const size_t widest = view_.dim - left - sub_begin_.back();
            sub_begin_.push_back(static_cast<uint32_t>(sub_begin_.back() + 1 +
                                                       random.below(std::min<size_t>(widest, 7))));
        }
        sub_begin_.push_back(static_cast<uint32_t>(view_.dim));
        codebooks_ = Floats(entries * view_.dim, Values::Plain, random);
    }
    size_t words() const {
        const size_t d = view_.dim, m = view_.subquantizers;
        switch (view_.kind) {
            case CodeKind::Float32: return d;
            case CodeKind::Float16:
            case CodeKind::BFloat16: return (d + 1) / 2;
            case CodeKind::RangeInt8: return (d + 3) / 4 + (view_.factors ? kInt8Factors : 0);
            case CodeKind::ScaledInt8: return (d + 3) / 4 + 1;
            case CodeKind::Product8: return (m + 3) / 4;
            case CodeKind::Product4: return (m + 7) / 8;
            case CodeKind::Bits:
                return view_.bits * ((d + 31) / 32) + bits_factor_words(view_.bits);
        }
        return 0;
    }
    uint32_t draw_word(size_t w, Random& random, bool any) const {
        const auto word = static_cast<uint32_t>(random.next());
        const auto value = static_cast<float>(2 * random.uniform() - 1);
        const auto other = static_cast<float>(2 * random.uniform() - 1);
        const bool factor = (view_.kind == CodeKind::ScaledInt8 && w + 1 == view_.words) ||
                            (view_.factors && w + kInt8Factors >= view_.words);
        if (factor) return std::bit_cast<uint32_t>(std::fabs(value));
        if (view_.kind == CodeKind::Bits && w + bits_factor_words(view_.bits) >= view_.words) {
            if (view_.bits != 1) return std::bit_cast<uint32_t>(std::fabs(value));
            return static_cast<uint32_t>(bfloat16_from_float(std::fabs(value))) |
                   static_cast<uint32_t>(bfloat16_from_float(std::fabs(other))) << 16;
        }
        if (any) return word;
        if (view_.kind == CodeKind::Float32) return std::bit_cast<uint32_t>(value);
        if (view_.kind == CodeKind::Float16) {
            return static_cast<uint32_t>(float16_from_float(value)) |
                   static_cast<uint32_t>(float16_from_float(other)) << 16;
        }
        if (view_.kind == CodeKind::BFloat16) {
            return static_cast<uint32_t>(bfloat16_from_float(value)) |
                   static_cast<uint32_t>(bfloat16_from_float(other)) << 16;
        }
        return word;
    }

    CodeView view_;
    Floats offset_, step_;
    std::vector<uint32_t> sub_begin_;
    Floats codebooks_;
};

// Rows of words into blocks of sixteen, word by word; the lanes past the last row are zero.
inline std::vector<uint32_t> to_blocks(const std::vector<std::vector<uint32_t>>& rows,
                                       size_t words) {
    std::vector<uint32_t> blocks(blocks_for(rows.size()) * words * kBlock, 0);
    for (size_t i = 0; i < rows.size(); ++i) {
        for (size_t w = 0; w < words; ++w)
            blocks[(i / kBlock * words + w) * kBlock + i % kBlock] = rows[i][w];
    }
    return blocks;
}

}  // namespace nearcell::checks
