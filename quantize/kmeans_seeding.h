// Where k-means starts: at `clusters` different rows, drawn at random or by k-means++ (Arthur,
// Vassilvitskii 2007, section 2.2: each next row with probability proportional to its squared
// distance from the rows drawn before it; on the unit sphere for spherical k-means). Random seeding
// costs nothing; k-means++ costs about one iteration of Lloyd's.
#pragma once

#include <cstddef>
#include <vector>

#include <nearcell/core/random.h>
#include <nearcell/kernels/backend.h>
#include <nearcell/quantize/kmeans.h>
#include <nearcell/quantize/lloyd.h>

namespace nearcell {

// clusters x dim centroids, of length one for spherical points. Rows of weight zero are drawn last.
std::vector<float> seed_centroids(const KMeansPoints& points, size_t clusters, Seeding seeding,
                                  Random& random, const Backend& backend, int threads);

}  // namespace nearcell
