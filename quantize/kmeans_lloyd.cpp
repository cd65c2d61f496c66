#include <algorithm>

#include <nearcell/quantize/kmeans_methods.h>
#include <nearcell/quantize/kmeans_seeding.h>

namespace nearcell {
namespace {

// As many points as clusters: each is its own centroid.
KMeansRun copy_points(const KMeansPoints& points) {
    KMeansRun run;
    const size_t dim = points.x.cols;
    run.centroids.resize(points.x.rows * dim);
    double similarities = 0;
    for (size_t i = 0; i < points.x.rows; ++i) {
        const float* row = points.x.row(i);
        float* centroid = run.centroids.data() + i * dim;
        std::copy_n(row, dim, centroid);
        if (!points.spherical()) continue;
        normalize_centroid(centroid, dim, i);
        double similarity = 0;
        for (size_t j = 0; j < dim; ++j) {
            similarity += static_cast<double>(row[j]) * static_cast<double>(centroid[j]);
        }
        similarities += points.weight(i) * similarity;
    }
    run.objective.push_back(similarities);
    return run;
}

}  // namespace

void iterate_lloyd(const KMeansPoints& points, const KMeansPlan& plan, KMeansRun& run) {
    Lloyd step(points, plan.clusters, plan.backend, plan.threads);
    for (size_t iteration = 0; iteration < plan.iterations; ++iteration) {
        report(plan.progress, "k-means", static_cast<double>(iteration),
               static_cast<double>(plan.iterations));
        const bool changed = step.assign(run.centroids);
        run.objective.push_back(step.objective());
        if (!changed) return;
        run.empty_splits += step.update(run.centroids);
    }
}

KMeansRun run_lloyd(const KMeansPoints& points, const KMeansPlan& plan, Random& random) {
    if (points.x.rows == plan.clusters) return copy_points(points);
    KMeansRun run;
    run.centroids =
        seed_centroids(points, plan.clusters, plan.seeding, random, plan.backend, plan.threads);
    iterate_lloyd(points, plan, run);
    return run;
}

}  // namespace nearcell
