// Held-out rows: rows of a base that serve as queries, because no others are there, and are left
// out of what they search in, so that they do not find themselves. Cost: some 24 bytes a row while
// it lasts, and a shuffle; copy_rows copies. Stateless.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <nearcell/core/vectors.h>
#include <nearcell/storage/vector_file.h>

namespace nearcell {

constexpr size_t kLeastHeldOutBase = 20;  // rows of which some can be held out
constexpr size_t kMostHeldOut = 2000;

struct HeldOut {
    std::vector<int64_t> queries, rest;  // row numbers, ascending; together all of them
};

// A tenth of the rows, at most 2,000, drawn by the seed. Throws InvalidArgument for fewer than 20
// rows.
HeldOut hold_out(size_t rows, uint64_t seed);

// `count` of the row numbers, drawn by the seed, ascending. More rows drawn by the same seed
// include the fewer.
std::vector<int64_t> sample_rows(std::span<const int64_t> rows, size_t count, uint64_t seed);

// These rows in their element type.
VectorData copy_rows(const Vectors& from, std::span<const int64_t> rows);

}  // namespace nearcell
