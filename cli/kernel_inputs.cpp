#include "kernel_inputs.h"

#include <algorithm>
#include <utility>

#include <nearcell/core/random.h>

namespace nearcell::cli {
namespace {

size_t divided_up(size_t a, size_t b) { return (a + b - 1) / b; }

void fill(AlignedBuffer<float>& buffer, size_t size, Random& random) {
    buffer.resize(size);
    float* values = buffer.mutable_data();
    for (size_t i = 0; i < size; ++i)
        values[i] = static_cast<float>(random.uniform());
}

CodeKind kind_of(std::string_view op) {
    static constexpr std::pair<std::string_view, CodeKind> kKinds[] = {
        {"bfloat16", CodeKind::BFloat16},        {"float16", CodeKind::Float16},
        {"scaled_int8", CodeKind::ScaledInt8},   {"int8", CodeKind::RangeInt8},
        {"product8", CodeKind::Product8},        {"product4", CodeKind::Product4},
        {"product4_tables", CodeKind::Product4}, {"bits", CodeKind::Bits},
    };
    for (const auto& [name, kind] : kKinds) {
        if (op.ends_with(name)) return kind;
    }
    return CodeKind::Float32;
}

}  // namespace

KernelInputs::KernelInputs(size_t dim) : d(dim) {
    Random random(1);
    fill(queries, kQueries * d, random);
    fill(values, std::max(d, kChunk * kBlock), random);
    fill(codebooks, 256 * (d + kBlock), random);  // and room past the last channel
    out.resize(kQueries * std::max(d + kBlock, kBlock * kChunk));
    rows.resize(kChunk * kBlock * d);
    tables.assign(kQueries * divided_up(d, 32) * 128, 1);
    for (size_t q = 0; q < kQueries; ++q) {
        query_rows.push_back(query(q));
        coded_queries.push_back({query_tables(q), 1, 0, 0, 0, thresholds[q]});
    }
    for (size_t j = 0; j < d; j += kSubWidth)
        sub_begin.push_back(static_cast<uint32_t>(j));
    sub_begin.push_back(static_cast<uint32_t>(d));
}

CodeView KernelInputs::code_of(std::string_view op) const {
    CodeView code;
    code.kind = kind_of(op);
    code.dim = d;
    code.bits = 1;
    code.offset = code.step = values.data();
    code.subquantizers = sub_begin.size() - 1;
    code.sub_begin = sub_begin.data();
    if (d % kSubWidth == 0) code.sub_width = kSubWidth;
    code.codebooks = codebooks.data();
    switch (code.kind) {
        case CodeKind::Float32: code.words = d; break;
        case CodeKind::Float16:
        case CodeKind::BFloat16: code.words = divided_up(d, 2); break;
        case CodeKind::RangeInt8:
            code.factors = op.starts_with("scan");
            code.words = divided_up(d, 4) + (code.factors ? kInt8Factors : 0);
            break;
        case CodeKind::ScaledInt8: code.words = divided_up(d, 4) + 1; break;
        case CodeKind::Product8: code.words = divided_up(code.subquantizers, 4); break;
        case CodeKind::Product4: code.words = divided_up(code.subquantizers, 8); break;
        case CodeKind::Bits: code.words = divided_up(d, 32) + bits_factor_words(code.bits); break;
    }
    return code;
}

}  // namespace nearcell::cli
