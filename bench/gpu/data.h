// Vectors for the benchmarks: rows on a smooth manifold of 16 latent dimensions, tanh(z V) W, plus
// noise, as prototypes of this engine were measured on. Cost: about 8 us of one core a row of 96
// dimensions, on all threads. The same values for a seed wherever libm is the same. Thread safety:
// all calls may run at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <nearcell/core/matrix_view.h>

namespace nearcell::bench {

struct Rows {
    size_t rows = 0, dim = 0;
    std::vector<float> values;
    MatrixView<const float> view() const { return {values.data(), rows, dim}; }
};

// Rows of the same dimension lie on the same manifold, whatever their seed.
Rows manifold(size_t rows, size_t dim, uint64_t seed);

// As FILE.fbin or FILE.ibin: rows and columns as 32 bits each, then the values. For peers.py.
void write_floats(const std::string& path, MatrixView<const float> rows);
void write_ids(const std::string& path, const std::vector<int64_t>& ids, size_t columns);

}  // namespace nearcell::bench
