// Mini-batch k-means (Sculley 2010): each iteration looks at a fresh sample only, and a centroid is
// the running mean of all the points it was ever nearest to.
#include <algorithm>

#include <nearcell/quantize/empty_clusters.h>
#include <nearcell/quantize/kmeans_methods.h>
#include <nearcell/quantize/kmeans_seeding.h>
#include <nearcell/quantize/training_rows.h>

namespace nearcell {
namespace {

constexpr size_t kRowsPerCluster = 16;
constexpr size_t kMinRows = 4096;

// One sample: its rows as float32, and their weights.
class Batch {
   public:
    Batch(const Vectors& all, const float* all_weights, Metric metric, int threads)
        : all_(all), all_weights_(all_weights), metric_(metric), threads_(threads) {}

    KMeansPoints draw(size_t count, Random& random) {
        std::vector<size_t> rows = random_sample(all_.rows, count, random);
        std::sort(rows.begin(), rows.end());
        x_.resize(count * all_.cols);
        weights_.clear();
        if (all_weights_ != nullptr) {
            for (size_t row : rows)
                weights_.push_back(all_weights_[row]);
        }
        gather_rows(all_, rows.data(), {x_.data(), count, all_.cols}, 1);
        return kmeans_points({x_.data(), count, all_.cols}, weights_, metric_, threads_);
    }

   private:
    const Vectors& all_;
    const float* all_weights_;
    Metric metric_;
    int threads_;
    std::vector<float> x_;
    std::vector<float> weights_;
};

}  // namespace

size_t mini_batch_rows(size_t rows, size_t clusters) {
    if (clusters > rows / kRowsPerCluster) return rows;
    return std::min(rows, std::max(kMinRows, clusters * kRowsPerCluster));
}

KMeansRun run_mini_batch(const Vectors& x, const float* weights, Metric metric,
                         const KMeansPlan& plan, Random& random) {
    const size_t count = mini_batch_rows(x.rows, plan.clusters);
    Batch batch(x, weights, metric, plan.threads);
    KMeansPoints points = batch.draw(count, random);
    std::shared_ptr<const void> kept = plan.backend.keep(points.x);
    KMeansRun run;
    run.centroids =
        seed_centroids(points, plan.clusters, plan.seeding, random, plan.backend, plan.threads);
    std::vector<double> seen(plan.clusters, 0.0);  // weight of all points of each centroid so far
    for (size_t iteration = 0; iteration < plan.iterations; ++iteration) {
        report(plan.progress, "k-means", static_cast<double>(iteration),
               static_cast<double>(plan.iterations));
        if (iteration > 0) {
            kept.reset();  // the next batch comes to the same place
            points = batch.draw(count, random);
            kept = plan.backend.keep(points.x);
        }
        Lloyd step(points, plan.clusters, plan.backend, plan.threads);
        step.assign(run.centroids);
        run.objective.push_back(step.objective());
        run.empty_splits += step.blend(run.centroids, seen);
    }
    return run;
}

}  // namespace nearcell
