#include <nearcell/cpu/coded_queries.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace nearcell {
namespace {

constexpr size_t kTableBytes = 128;  // of a query, for each line of nibbles
constexpr size_t kAlignment = 64;

// Of a query, for one scan.
size_t operand_bytes(const CodeView& code) {
    switch (code.kind) {
        case CodeKind::Bits: return (code.dim + 31) / 32 * kTableBytes;
        case CodeKind::Product4: return code.words * kTableBytes;
        default: return (code.dim + kAlignment - 1) / kAlignment * kAlignment;
    }
}

std::vector<float> codebook_columns(const CodeView& code) {
    std::vector<float> columns(16 * code.dim);
    for (size_t m = 0; m < code.subquantizers; ++m) {
        const size_t begin = code.sub_begin[m], width = code.sub_begin[m + 1] - begin;
        const float* from = code.codebooks + 16 * begin;
        for (size_t v = 0; v < 16; ++v) {
            for (size_t j = 0; j < width; ++j)
                columns[(begin + j) * 16 + v] = *from++;
        }
    }
    return columns;
}

// Weights of a query of bytes err by independent amounts within a unit, so that the sum with a
// vector of codes errs by more than t units times its length with probability exp(-2 t^2) at most
// (Hoeffding's inequality), one-sided: less than 1 in 10^9. Never by more than sqrt(d).
constexpr float kUnits = 3.25f;

}  // namespace

CodedQueries::CodedQueries(const ScanJob& job, const KernelTable& kernels,
                           std::span<const uint32_t> queries)
    : job_(job),
      kernels_(kernels),
      bits_(job.code.kind == CodeKind::Bits),
      similarity_(is_similarity(job.metric)),
      prepared_(queries.size()),
      values_(job.code.dim) {
    const CodeView& code = job.code;
    const size_t bytes = operand_bytes(code);
    operands_.resize(bytes * queries.size());
    const bool product = code.kind == CodeKind::Product4;
    if (product) columns_ = codebook_columns(code);
    for (size_t j = 0; code.kind == CodeKind::RangeInt8 && j < code.dim; ++j) {
        const float middle = job.refine->residual ? 0.0f : job.refine->center[j];
        const bool varies = code.step[j] > 0;
        code_center_.push_back(varies ? (middle - code.offset[j]) / code.step[j] : 0.0f);
        if (!varies) constants_.emplace_back(j, code.offset[j] - middle);
    }
    for (size_t q = 0; q < queries.size(); ++q) {
        const float* query = job.queries.row(queries[q]);
        uint8_t* const operand = operands_.mutable_data() + bytes * q;
        prepared_[q].operand = operand;
        if (bits_) {
            prepare_bits(query, prepared_[q], operand);
        } else if (product) {
            prepare_product(query, prepared_[q], operand);
        } else {
            prepare_int8(query, prepared_[q], reinterpret_cast<int8_t*>(operand));
        }
    }
}

void CodedQueries::prepare_bits(const float* query, CodedQuery& prepared, uint8_t* tables) {
    const size_t d = job_.code.dim;
    const float* const center = job_.refine->center;
    if (similarity_) prepared.reach = -kernels_.ip_f32(query, query, d);  // for of()
    if (center != nullptr) {
        for (size_t j = 0; j < d; ++j)
            values_[j] = query[j] - center[j];
        query = values_.data();
    }
    kernels_.bits_tables(query, d, tables, &prepared.unit, &prepared.offset);
    if (!similarity_) {  // |q - x|^2 has the dot product twice
        prepared.unit *= 2.0f;
        prepared.offset *= 2.0f;
    }
}

void CodedQueries::prepare_product(const float* query, CodedQuery& prepared, uint8_t* tables) {
    kernels_.product4_tables(&job_.code, columns_.data(), query, similarity_ ? 1 : 0, tables,
                             &prepared.unit, &prepared.offset);
    prepared.shift = prepared.reach = 0.0f;
    if (std::isfinite(prepared.unit + prepared.offset)) return;
    prepared.unit = 0.0f;  // out of range: nothing can be ruled out
    prepared.offset = -std::numeric_limits<float>::infinity();
}

void CodedQueries::prepare_int8(const float* query, CodedQuery& prepared, int8_t* bytes) {
    const size_t d = job_.code.dim;
    const float *center = job_.refine->center, *step = job_.code.step;
    for (size_t j = 0; j < d; ++j)
        values_[j] = similarity_ ? query[j] : query[j] - center[j];
    const float square = -kernels_.ip_f32(values_.data(), values_.data(), d);
    prepared.shift = square - kSlack * square;
    if (similarity_ && !job_.refine->residual) {
        const float center_square = -kernels_.ip_f32(center, center, d);
        prepared.shift = kernels_.ip_f32(query, center, d) -
                         kSlack * std::sqrt(square) * std::sqrt(center_square);
    }
    const float factor = similarity_ ? -1.0f : -2.0f;
    float shared = 0, roundings = 0;  // of columns that are the same in all codes
    for (const auto& [j, value] : constants_) {
        const float product = factor * values_[j] * value;
        shared += product;
        roundings += kSlack * std::fabs(product);
    }
    for (size_t j = 0; j < d; ++j)
        values_[j] *= factor * step[j];
    const float length = std::sqrt(-kernels_.ip_f32(values_.data(), values_.data(), d));
    if (!(length + std::fabs(prepared.shift) + std::fabs(shared) <=
          std::numeric_limits<float>::max())) {
        // Out of range: nothing can be ruled out.
        std::fill(bytes, bytes + (d + kBlock - 1) / kBlock * kBlock, int8_t{0});
        prepared.unit = prepared.reach = prepared.shift = 0.0f;
        prepared.offset = -std::numeric_limits<float>::infinity();
        return;
    }
    kernels_.int8_query(values_.data(), code_center_.data(), d, kernels_.int8_pair, bytes,
                        &prepared.unit, &prepared.offset);
    const float units = std::min(kUnits, std::sqrt(static_cast<float>(d)));
    prepared.reach = job_.refine->margin * units * prepared.unit + kSlack * length;
    prepared.offset -= prepared.unit * static_cast<float>(d) / 128.0f;  // roundings of the offset
    prepared.offset += shared - roundings;
}

}  // namespace nearcell
