// Random rotations: they spread the variance of vectors evenly over the dimensions, which binary
// and product codes need. Cost: in_dim x out_dim x the smaller of the two multiply-adds in double
// precision. Thread safe: no state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nearcell {

// A random out_dim x in_dim matrix, row-major, with orthonormal rows (out_dim <= in_dim) or columns
// (out_dim > in_dim): QR of a Gaussian one, signs fixed so that it depends on the seed only.
std::vector<float> random_rotation(size_t in_dim, size_t out_dim, uint64_t seed);

}  // namespace nearcell
