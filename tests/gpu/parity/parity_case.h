// What the parity tests share: sizes, data, and what counts as equal. The tests ask for nothing but
// what users of a library with a GPU part have, so the same sources run on the emulation, in CTest,
// and on a GPU, as cuda_parity. Thread safety: one thread.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nearcell/core/metric.h>
#include <nearcell/core/search_result.h>
#include <nearcell/index/factory.h>

namespace nearcell::parity {

// Tiny is for the emulation and for sanitizers; full gives a GPU something to do at once.
struct Size {
    std::string_view name;
    size_t rows, dim, queries, cells;   // of the index tests
    size_t exact_rows, exact_queries;   // of exact search
    size_t chunk_blocks;                // DeviceOptions
    size_t subquantizers, repetitions;  // of PQ; of searches that must give the same bits
};
constexpr Size kSizes[] = {
    {"tiny", 400, 24, 9, 8, 600, 5, 2, 8, 20},
    {"full", 50000, 96, 500, 64, 200000, 1000, 0, 32, 20},
};

// The one that the program was started with (--size), tiny at first.
const Size& size();

struct Rows {
    std::vector<float> values;
    size_t dim = 0;
    MatrixView<const float> view() const { return {values.data(), values.size() / dim, dim}; }
};

// Clustered, so that cells mean something; base and queries are of the same clusters.
Rows clustered(size_t rows, size_t dim, uint64_t seed);

class ParityTest : public testing::Test {
   protected:
    ParityTest()
        : base_(clustered(size().rows, size().dim, 1)),
          queries_(clustered(size().queries, size().dim, 2)) {}

    std::unique_ptr<CellIndex> make(const std::string& spec, Metric metric) const;
    SearchResult search(const CellIndex& index, const SearchOptions& options) const {
        return index.search(queries_.view(), options);
    }

    Rows base_, queries_;
};

// "IVF%,PQ#" with the size's number of cells and of subquantizers.
std::string spec_of(std::string_view pattern);
// With chunks of the size's length.
DeviceOptions device_options();

// Scores within the roundings of float32; where neighbours differ, their scores must not. Of
// `others` queries that may be wrong, where a rounding decides more than a score.
void expect_close(const SearchResult& found, const SearchResult& truth, const std::string& what,
                  size_t others = 0);
// Where codes' bounds may fail, devices let others pass: as near in all, or nearer.
void expect_as_near(const SearchResult& found, const SearchResult& truth, const std::string& what);
// The one or the other: of what it scores again from a re-rank store the CPU chooses some by
// integers (PQ of 4 bits) and skips some by bounds that may fail (RaBitQ); a device then finds
// nearer ones.
void expect_as_cpu(const CellIndex& index, const SearchResult& found, const SearchResult& truth,
                   const std::string& what);
// Ids, counts and the bits of scores.
void expect_equal(const SearchResult& found, const SearchResult& truth, const std::string& what);

}  // namespace nearcell::parity
