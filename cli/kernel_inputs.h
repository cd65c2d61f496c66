// KernelInputs: what kernels of one dimension are called with, other than the stored vectors:
// queries, their tables, and room for results. Nothing passes a threshold, a scan's usual case.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include <nearcell/core/aligned_buffer.h>
#include <nearcell/kernels/kernel_table.h>

namespace nearcell::cli {

struct KernelInputs {
    static constexpr size_t kQueries = 48;  // of a call
    static constexpr size_t kChunk = 16;    // blocks of a call
    static constexpr size_t kSubWidth = 4;  // dimensions of a subquantizer
    static constexpr size_t kMaxDim = 32 * kMostLookupLines;

    explicit KernelInputs(size_t dim);

    // How a code is to be read that an operation takes, by the end of its name; one bit a dimension
    // for "bits", floats where no kind is named.
    CodeView code_of(std::string_view op) const;

    const float* query(size_t q) const { return queries.data() + q * d; }
    uint8_t* query_tables(size_t q) { return tables.data() + q * (tables.size() / kQueries); }

    size_t d;
    AlignedBuffer<float> queries, values, codebooks, out;
    std::vector<const float*> query_rows;
    std::vector<uint16_t> masks = std::vector<uint16_t>(kChunk, 0xffff);
    std::vector<float> thresholds =
        std::vector<float>(kQueries, -std::numeric_limits<float>::infinity());
    std::vector<Hit> hits = std::vector<Hit>(kQueries * kChunk * kBlock);
    std::vector<Nearest> nearest = std::vector<Nearest>(kChunk);
    std::vector<uint8_t> tables;
    std::vector<CodedQuery> coded_queries;
    std::vector<uint32_t> rows, sub_begin;
};

}  // namespace nearcell::cli
