#include <nearcell/quantize/empty_clusters.h>

#include <algorithm>
#include <cstring>
#include <queue>

namespace nearcell {
namespace {

constexpr float kStep = 1.0f / 16;  // of the way to the farthest point

// A cluster that may give points away; `pieces` grows as it is cut.
struct Donor {
    size_t rows;
    size_t cluster;
    size_t pieces;

    // The donor with the largest pieces first, then the smaller number.
    bool operator<(const Donor& other) const {
        const size_t mine = rows * other.pieces;
        const size_t others = other.rows * pieces;
        return mine != others ? mine < others : cluster > other.cluster;
    }
};

bool rows_all_alike(const KMeansPoints& points, const ClusterRows& groups, size_t cluster) {
    const std::span<const uint32_t> rows = groups.rows(cluster);
    const float* first = points.x.row(rows[0]);
    for (const uint32_t other : rows.subspan(1)) {
        const float* row = points.x.row(other);
        if (std::memcmp(first, row, points.x.cols * sizeof(float)) != 0) return false;
    }
    return true;
}

// The row of the cluster that is farthest but `rank` from its centroid, ties by the smaller row.
size_t far_row(const ClusterRows& groups, const std::vector<float>& keys, size_t cluster,
               size_t rank) {
    const std::span<const uint32_t> all = groups.rows(cluster);
    std::vector<uint32_t> rows(all.begin(), all.end());
    const auto nth = rows.begin() + static_cast<ptrdiff_t>(rank % rows.size());
    std::nth_element(rows.begin(), nth, rows.end(), [&](uint32_t a, uint32_t b) {
        return keys[a] != keys[b] ? keys[a] > keys[b] : a < b;
    });
    return *nth;
}

void place_towards(const KMeansPoints& points, size_t row, const float* centroid, float* out,
                   size_t fallback) {
    const float* target = points.x.row(row);
    for (size_t j = 0; j < points.x.cols; ++j) {
        out[j] = centroid[j] + kStep * (target[j] - centroid[j]);
    }
    if (points.spherical()) normalize_centroid(out, points.x.cols, fallback);
}

}  // namespace

void refill_empty_clusters(const KMeansPoints& points, const ClusterRows& groups,
                           const std::vector<float>& keys, const std::vector<size_t>& empty,
                           float* centroids) {
    const size_t dim = points.x.cols;
    if (empty.empty()) return;
    std::priority_queue<Donor> donors;
    size_t largest = 0;
    for (size_t c = 0; c < groups.clusters(); ++c) {
        if (groups.size(c) > groups.size(largest)) largest = c;
        if (groups.size(c) > 1) donors.push({groups.size(c), c, 1});
    }
    for (size_t c : empty) {
        float* centroid = centroids + c * dim;
        while (!donors.empty() && donors.top().pieces == 1 &&
               rows_all_alike(points, groups, donors.top().cluster)) {
            donors.pop();
        }
        if (donors.empty()) {
            std::copy_n(centroids + largest * dim, dim, centroid);
            continue;
        }
        Donor donor = donors.top();
        donors.pop();
        const size_t row = far_row(groups, keys, donor.cluster, donor.pieces - 1);
        place_towards(points, row, centroids + donor.cluster * dim, centroid, c);
        ++donor.pieces;
        donors.push(donor);
    }
}

}  // namespace nearcell
