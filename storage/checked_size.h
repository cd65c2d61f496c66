// Sums and products of sizes that come from files: empty when 64 bits do not hold them. Use for
// every count read from a file, before it is compared with the file's length. Pure; thread safe.
#pragma once

#include <cstdint>
#include <optional>

namespace nearcell {

inline std::optional<uint64_t> checked_sum(uint64_t a, uint64_t b) {
    uint64_t sum = 0;
    if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
    return sum;
}

inline std::optional<uint64_t> checked_product(uint64_t a, uint64_t b) {
    uint64_t product = 0;
    if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
    return product;
}

inline std::optional<uint64_t> checked_product(uint64_t a, uint64_t b, uint64_t c) {
    const std::optional<uint64_t> ab = checked_product(a, b);
    return ab ? checked_product(*ab, c) : std::nullopt;
}

}  // namespace nearcell
