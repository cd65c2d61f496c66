// CodedQueries: a task's queries as the scans of codes by integers want them: tables for one-bit
// and product codes, signed bytes for codes of bytes, and how much a code's error may lower a key.
// Prepared once, used for every cell.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <nearcell/core/aligned_buffer.h>
#include <nearcell/cpu/cell_walk.h>
#include <nearcell/kernels/backend.h>
#include <nearcell/kernels/kernel_table.h>

namespace nearcell {

class CodedQueries {
   public:
    // `queries` are rows of job.queries, and job.refine is set.
    CodedQueries(const ScanJob& job, const KernelTable& kernels, std::span<const uint32_t> queries);

    // Of the pair's query and its cell, of this number; everything but the threshold.
    CodedQuery of(const Pair& pair, uint32_t cell) const {
        CodedQuery query = prepared_[pair.query];
        if (!job_.refine->residual) return query;
        query.shift = pair.key - kSlack * std::fabs(pair.key);
        if (!bits_) return query;
        // The error of a one-bit code grows with the distance of query and centroid; the factor is
        // that of squared distances, which have the product twice.
        const float square = similarity_
                                 ? query.reach + job_.refine->cell_squares[cell] + 2.0f * pair.key
                                 : pair.key;
        query.reach =
            job_.refine->margin * (similarity_ ? 0.5f : 1.0f) * std::sqrt(std::max(0.0f, square));
        return query;
    }

   private:
    void prepare_bits(const float* query, CodedQuery& prepared, uint8_t* tables);
    void prepare_product(const float* query, CodedQuery& prepared, uint8_t* tables);
    void prepare_int8(const float* query, CodedQuery& prepared, int8_t* bytes);

    static constexpr float kSlack = 0x1p-20f;  // more than a key's roundings

    const ScanJob& job_;
    const KernelTable& kernels_;
    bool bits_, similarity_;
    std::vector<CodedQuery> prepared_;
    AlignedBuffer<uint8_t> operands_;
    std::vector<float> values_, code_center_;
    std::vector<std::pair<size_t, float>> constants_;  // columns of step 0; what codes hold there
    std::vector<float> columns_;  // of the codebooks, as ProductTablesKernel has them
};

}  // namespace nearcell
