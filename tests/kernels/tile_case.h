// Inputs of kernel checks: values of many sizes and kinds, and the vectors, queries, biases and
// masks of one call. Made from next() and uniform() only, so that every machine sees the same bits.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include <nearcell/core/metric.h>
#include <nearcell/core/random.h>
#include <nearcell/kernels/code_view.h>

namespace nearcell::checks {

enum class Values { Plain, Integers, Tiny, Denormal, Large, Mixed, Overflowing, Special };
constexpr Values kAllValues[] = {Values::Plain,       Values::Integers, Values::Tiny,
                                 Values::Denormal,    Values::Large,    Values::Mixed,
                                 Values::Overflowing, Values::Special};

inline float draw(Values values, Random& random) {
    const double u = 2 * random.uniform() - 1;
    const double exponent = static_cast<double>(random.below(25));
    switch (values) {
        case Values::Plain: return static_cast<float>(u);
        case Values::Integers: return static_cast<float>(random.below(3));  // equal keys
        case Values::Tiny: return static_cast<float>(u * 1e-20);            // denormal products
        case Values::Denormal: return static_cast<float>(u * 0x1p-127);
        case Values::Large: return static_cast<float>(u * 1e15);
        case Values::Mixed:
            return static_cast<float>(std::ldexp(u, static_cast<int>(exponent) - 12));
        case Values::Overflowing: return static_cast<float>(u * 3e38);
        case Values::Special: break;
    }
    switch (random.below(60)) {
        case 0: return std::numeric_limits<float>::infinity();
        case 1: return -std::numeric_limits<float>::infinity();
        case 2: return std::numeric_limits<float>::quiet_NaN();
        case 3: return 0.0f;
        case 4: return -0.0f;
        default: return static_cast<float>(u);
    }
}

// Floats that start four bytes past an aligned address and end where their memory ends.
class Floats {
   public:
    explicit Floats(size_t size) : data_(size + 1) {}
    Floats(size_t size, Values values, Random& random) : Floats(size) {
        for (size_t i = 0; i < size; ++i)
            data()[i] = draw(values, random);
    }
    float* data() { return data_.data() + 1; }
    const float* data() const { return data_.data() + 1; }
    size_t size() const { return data_.size() - 1; }
    float& operator[](size_t i) { return data()[i]; }
    float operator[](size_t i) const { return data()[i]; }

   private:
    std::vector<float> data_;
};

// The absolute terms of a key, added up: what its error bound is stated in.
inline double term(Metric metric, float a, float b) {
    const double x = static_cast<double>(a), y = static_cast<double>(b);
    if (is_similarity(metric)) return std::fabs(x * y);
    return metric == Metric::L1 ? std::fabs(x - y) : (x - y) * (x - y);
}

// Blocks, queries, biases, masks of one call of a blocked kernel.
struct TileCase {
    size_t block_count, d, query_count;
    Values values;
    Floats blocks, bias;
    std::vector<Floats> query_data;
    std::vector<const float*> queries;
    std::vector<uint16_t> masks;

    TileCase(size_t block_count_, size_t d_, size_t query_count_, Values values_, Random& random)
        : block_count(block_count_),
          d(d_),
          query_count(query_count_),
          values(values_),
          blocks(block_count * d * kBlock, values, random),
          bias(rows(), values, random) {
        for (size_t q = 0; q < query_count; ++q)
            query_data.emplace_back(d, values, random);
        for (const Floats& query : query_data)
            queries.push_back(query.data());
        for (size_t b = 0; b < block_count; ++b) {
            const uint64_t word = random.next();
            masks.push_back(static_cast<uint16_t>(b % 4 == 3 ? 0 : word));
        }
        // The last row repeats the first, so that keys tie across blocks and lanes.
        for (size_t j = 0; j < d; ++j)
            value(rows() - 1, j) = value(0, j);
        bias[rows() - 1] = bias[0];
    }
    size_t rows() const { return block_count * kBlock; }
    float& value(size_t row, size_t j) {
        return blocks[(row / kBlock * d + j) * kBlock + row % kBlock];
    }
    float value(size_t row, size_t j) const {
        return blocks[(row / kBlock * d + j) * kBlock + row % kBlock];
    }
    double magnitude(Metric metric, size_t q, size_t row) const {
        const float* lane = blocks.data() + row / kBlock * d * kBlock + row % kBlock;
        double sum = 0;
        for (size_t j = 0; j < d; ++j)
            sum += term(metric, lane[j * kBlock], queries[q][j]);
        return sum;
    }
};

// Calls run(case) for every dimension and kind of values, with block counts 1 to 9 and query counts
// 1 to 13 in turn, and for every pair of counts.
template <class Dims, class Run>
void for_each_tile_case(const Dims& dims, Run&& run) {
    Random random(7);
    size_t turn = 0;
    for (const size_t d : dims) {
        for (const Values values : kAllValues) {
            run(TileCase(1 + turn % 9, d, 1 + turn * 5 % 13, values, random), random);
            ++turn;
        }
    }
    for (size_t block_count = 1; block_count <= 9; ++block_count) {
        for (size_t query_count = 1; query_count <= 13; ++query_count) {
            const size_t d = 1 + turn % 19;
            run(TileCase(block_count, d, query_count, Values::Integers, random), random);
            ++turn;
        }
    }
}

}  // namespace nearcell::checks
