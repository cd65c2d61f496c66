// The ways of training k-means, as train_kmeans calls them: each takes points that are ready
// (float32, finite, sampled) and returns one run. See KMeansMethod for when to use which.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include <nearcell/core/progress.h>
#include <nearcell/core/random.h>
#include <nearcell/core/vectors.h>
#include <nearcell/kernels/backend.h>
#include <nearcell/quantize/kmeans.h>
#include <nearcell/quantize/lloyd.h>

namespace nearcell {

// What every method needs beside the points.
struct KMeansPlan {
    size_t clusters;
    size_t iterations;
    Seeding seeding;
    int threads;
    const Backend& backend;
    Progress progress = {};
};

struct KMeansRun {
    std::vector<float> centroids;
    std::vector<double> objective;
    size_t empty_splits = 0;
};

// Lloyd's iterations from run.centroids on, added to the run; stops early when no label changes.
void iterate_lloyd(const KMeansPoints& points, const KMeansPlan& plan, KMeansRun& run);

KMeansRun run_lloyd(const KMeansPoints& points, const KMeansPlan& plan, Random& random);

KMeansRun run_hierarchical(const KMeansPoints& points, const KMeansPlan& plan, Random& random);

// How many clusters each group of rows receives: at least one where there are rows, at most one a
// row, `clusters` in all, and the largest clusters as small as can be (d'Hondt's method).
std::vector<size_t> share_clusters(const std::vector<size_t>& group_rows, size_t clusters);

// Batches are drawn from all of x; weights are one a row of x, or null.
KMeansRun run_mini_batch(const Vectors& x, const float* weights, Metric metric,
                         const KMeansPlan& plan, Random& random);
size_t mini_batch_rows(size_t rows, size_t clusters);

}  // namespace nearcell
