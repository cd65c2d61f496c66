// Random: a small seeded generator (splitmix64) whose sequence is the same on every machine and
// compiler, unlike the distributions of <random>. Not for cryptography. Not thread safe: one each.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <utility>
#include <vector>

namespace nearcell {

class Random {
   public:
    explicit Random(uint64_t seed) : state_(seed) {}

    uint64_t next() {
        uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
    }
    // Uniform in [0, bound), bound > 0, by Lemire's multiplication (bias below 2^-32 for our
    // sizes).
    uint64_t below(uint64_t bound) {
        __extension__ using Wide = unsigned __int128;
        return static_cast<uint64_t>((static_cast<Wide>(next()) * bound) >> 64);
    }
    // Uniform in [0, 1).
    double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
    // Standard normal (Box-Muller).
    double normal() {
        const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
        return radius * std::cos(2.0 * std::numbers::pi * uniform());
    }

   private:
    uint64_t state_;
};

// `count` distinct numbers of [0, total) in random order (the head of a Fisher-Yates shuffle).
inline std::vector<size_t> random_sample(size_t total, size_t count, Random& random) {
    std::vector<size_t> order(total);
    for (size_t i = 0; i < total; ++i)
        order[i] = i;
    for (size_t i = 0; i < count; ++i) {
        std::swap(order[i], order[i + random.below(total - i)]);
    }
    order.resize(count);
    return order;
}

// The numbers of random_sample in ascending order: rows are read in the order of memory then. Takes
// O(count) memory and time, plus one bit for each number of [0, total) where count is not far
// smaller. Nothing is drawn where count == total.
std::vector<size_t> sorted_sample(size_t total, size_t count, Random& random);

}  // namespace nearcell
