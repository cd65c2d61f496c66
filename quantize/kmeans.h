// k-means: `clusters` centroids of a set of vectors, by Lloyd's iterations over a blocked matrix
// product (Lloyd 1982), seeded at random or by k-means++ (Arthur, Vassilvitskii 2007, section 2.2).
// Bitwise the same result for any number of threads. Cost: iterations x points x clusters x dim
// multiply-adds for Lloyd; about points x sqrt(clusters) for the hierarchical method.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <nearcell/core/metric.h>
#include <nearcell/core/progress.h>
#include <nearcell/core/vectors.h>
#include <nearcell/kernels/backend.h>

namespace nearcell {

enum class Seeding { Random, PlusPlus };
enum class KMeansMethod {
    Auto,          // Hierarchical from 16,384 clusters on, Lloyd below
    Lloyd,         // every point against every centroid, each iteration
    Hierarchical,  // about sqrt(clusters) groups, each split on its own, then two Lloyd iterations
    MiniBatch,     // each iteration on a fresh sample (Sculley 2010)
};

struct KMeansOptions {
    size_t clusters = 0;
    Metric metric = Metric::L2;  // InnerProduct and Cosine: spherical, centroids of length one
    size_t iterations = 25;
    Seeding seeding = Seeding::Random;
    KMeansMethod method = KMeansMethod::Auto;
    uint64_t seed = 1234;
    size_t redo = 1;                       // runs, of which the best objective is kept
    size_t max_points_per_cluster = 256;   // more rows are sampled down to this; 0: never
    std::span<const float> weights = {};   // one a row, or empty
    MatrixView<const float> initial = {};  // warm start of Lloyd: clusters x dim, or empty
    int threads = 0;
    Progress progress = {};
};

struct KMeansResult {
    size_t clusters = 0;
    size_t dim = 0;
    std::vector<float> centroids;   // clusters x dim
    std::vector<double> objective;  // as each iteration labels the points: the sum of squared
                                    // distances (L2) or of similarities (spherical) over the points
                                    // used (MiniBatch: over its batch; Hierarchical: at the end)
    size_t points_given = 0;
    size_t points_used = 0;   // fewer than given: the rows were sampled
    size_t empty_splits = 0;  // empty clusters re-filled by splitting a large one

    MatrixView<const float> view() const { return {centroids.data(), clusters, dim}; }
};

// Throws InvalidArgument (clusters = 0, fewer rows than clusters, wrong shapes), NonFinite,
// Cancelled, and Unsupported for L1, which means do not serve. As many rows as clusters are copied.
KMeansResult train_kmeans(const Vectors& x, const KMeansOptions& options, const Backend& backend);

}  // namespace nearcell
