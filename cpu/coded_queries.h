// CodedQueries: a task's queries as the scans of codes by integers want them: tables for one-bit
// codes, signed bytes for codes of bytes, and how much a code's error may lower a key. Prepared
// once, used for every cell.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
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

    // Of the pair's query and cell; everything but the threshold.
    CodedQuery of(const Pair& pair) const {
        CodedQuery query = prepared_[pair.query];
        if (!job_.refine->residual) return query;
        query.shift = pair.key - kSlack * std::fabs(pair.key);
        if (bits_ && !similarity_)
            query.reach = job_.refine->margin * std::sqrt(std::max(0.0f, pair.key));
        return query;
    }

   private:
    void prepare_bits(const float* query, CodedQuery& prepared, uint8_t* tables);
    void prepare_int8(const float* query, CodedQuery& prepared, int8_t* bytes);

    static constexpr float kSlack = 0x1p-20f;  // more than a key's roundings

    const ScanJob& job_;
    const KernelTable& kernels_;
    bool bits_, similarity_;
    std::vector<CodedQuery> prepared_;
    AlignedBuffer<uint8_t> operands_;
    std::vector<float> values_, code_center_;
};

}  // namespace nearcell
