#include <nearcell/index/held_out.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <numeric>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>

namespace nearcell {
namespace {}  // namespace

HeldOut hold_out(size_t rows, uint64_t seed) {
    check(rows >= kLeastHeldOutBase, StatusCode::InvalidArgument, "base has ", rows,
          " rows, fewer than ", kLeastHeldOutBase,
          ", too few to hold some out as queries: pass queries");
    std::vector<int64_t> all(rows);
    std::iota(all.begin(), all.end(), 0);
    HeldOut parts;
    parts.queries = sample_rows(all, std::min(kMostHeldOut, rows / 10), seed);
    std::set_difference(all.begin(), all.end(), parts.queries.begin(), parts.queries.end(),
                        std::back_inserter(parts.rest));
    return parts;
}

std::vector<int64_t> sample_rows(std::span<const int64_t> rows, size_t count, uint64_t seed) {
    Random random(seed);
    std::vector<int64_t> sample;
    for (const size_t i : random_sample(rows.size(), count, random))
        sample.push_back(rows[i]);
    std::sort(sample.begin(), sample.end());
    return sample;
}

VectorData copy_rows(const Vectors& from, std::span<const int64_t> rows) {
    const size_t row_bytes = from.cols * element_size(from.type);
    VectorData copy{AlignedBuffer<uint8_t>(rows.size() * row_bytes), from.type, rows.size(),
                    from.cols};
    uint8_t* out = copy.bytes.mutable_data();
    for (const int64_t row : rows) {
        std::memcpy(out, from.row(static_cast<size_t>(row)), row_bytes);
        out += row_bytes;
    }
    return copy;
}

}  // namespace nearcell
