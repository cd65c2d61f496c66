// Lloyd's iteration (Lloyd 1982), the step every k-means method here is made of: label each point
// with its nearest centroid, then move each centroid to the mean of its points. Sums run in double
// precision over the rows of a cluster in index order, so the bits do not depend on the number of
// threads. Cost of an iteration: points x clusters x dim multiply-adds to assign, points x dim
// additions to update. Not thread safe: one Lloyd a run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <nearcell/core/matrix_view.h>
#include <nearcell/core/metric.h>
#include <nearcell/kernels/backend.h>
#include <nearcell/quantize/cluster_rows.h>

namespace nearcell {

// The points a k-means works on. Spherical k-means is the inner product; a cosine is an inner
// product whose weights have been divided by the lengths of the rows.
struct KMeansPoints {
    MatrixView<const float> x;
    const float* weights = nullptr;  // one a row; null: all one
    Metric metric = Metric::L2;      // L2 or InnerProduct

    double weight(size_t row) const {
        return weights == nullptr ? 1.0 : static_cast<double>(weights[row]);
    }
    bool spherical() const { return metric == Metric::InnerProduct; }
};

// A fixed-order sum of weight x key over the points, as a squared distance or a similarity.
double clustering_objective(const KMeansPoints& points, const std::vector<float>& keys,
                            int threads);

// Scales a vector to length one; one without a length becomes the unit vector of axis `fallback`.
void normalize_centroid(float* centroid, size_t dim, size_t fallback);

class Lloyd {
   public:
    Lloyd(const KMeansPoints& points, size_t clusters, const Backend& backend, int threads);

    // Labels every point with its nearest centroid; false when no label changed.
    bool assign(const std::vector<float>& centroids);
    // Moves centroids to the means of their points and re-fills those without any; returns how
    // many.
    size_t update(std::vector<float>& centroids);
    // The same for mini-batches: moves centroids by the share that these points have in all the
    // weight `seen` by each so far, and re-fills those that have never seen any.
    size_t blend(std::vector<float>& centroids, std::vector<double>& seen);

    double objective() const { return clustering_objective(points_, keys_, threads_); }
    const std::vector<uint32_t>& labels() const { return labels_; }

   private:
    void move_to_means(std::vector<float>& centroids);
    double cluster_weight(size_t cluster) const;

    KMeansPoints points_;
    size_t clusters_;
    const Backend& backend_;
    int threads_;
    std::vector<uint32_t> labels_;
    std::vector<uint32_t> previous_;
    std::vector<float> keys_;
    ClusterRows groups_;
};

}  // namespace nearcell
