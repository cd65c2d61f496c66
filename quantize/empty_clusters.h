// Empty clusters: what happens to a centroid that no point is nearest to. It is put into a large
// cluster, a little way from that cluster's centroid towards its farthest point, so that the next
// assignment cuts the cluster in two and the objective cannot rise. The choice depends on the
// labels alone. Cost: nothing without empty clusters; else clusters + the rows of the clusters cut.
#pragma once

#include <cstddef>
#include <vector>

#include <nearcell/quantize/lloyd.h>

namespace nearcell {

// Re-fills the clusters listed in `empty`; `keys` are the points' keys from the assignment.
// Clusters whose rows are all alike are not cut: where there are no others, centroids become
// copies.
void refill_empty_clusters(const KMeansPoints& points, const ClusterRows& groups,
                           const std::vector<float>& keys, const std::vector<size_t>& empty,
                           float* centroids);

}  // namespace nearcell
