// The order in which centroids are numbered: neighbours in space get numbers that are near each
// other. Queries sorted by their nearest cell then look into the same cells as their neighbours in
// the batch, and these cells lie side by side in memory and in files. Made by halving: the
// centroids are split at the median of their first principal component, and each half likewise.
// Cost: some 10 passes over the centroids a level, fewer where halves are large, log2(rows) levels,
// shared out to the threads; the scratch of each is 256 rows. The order does not depend on their
// number. Thread safe: no state.
#pragma once

#include <cstddef>
#include <vector>

#include <nearcell/core/matrix_view.h>

namespace nearcell {

// A permutation of the rows: order[i] is the row that should be number i.
std::vector<size_t> centroid_order(MatrixView<const float> centroids, int threads);

}  // namespace nearcell
