#include <nearcell/quantize/kmeans.h>

#include <algorithm>
#include <cmath>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>
#include <nearcell/quantize/kmeans_methods.h>
#include <nearcell/quantize/training_rows.h>

namespace nearcell {
namespace {

constexpr size_t kHierarchicalFrom = 16384;  // clusters, for KMeansMethod::Auto

KMeansMethod chosen_method(const KMeansOptions& options) {
    if (options.method != KMeansMethod::Auto) return options.method;
    return options.clusters >= kHierarchicalFrom && options.initial.rows == 0
               ? KMeansMethod::Hierarchical
               : KMeansMethod::Lloyd;
}

void check_weights(std::span<const float> weights, size_t rows) {
    if (weights.empty()) return;
    check(weights.size() == rows, StatusCode::InvalidArgument, "weights has ", weights.size(),
          " values for ", rows, " rows: pass one a row, or none");
    bool any = false;
    for (size_t i = 0; i < rows; ++i) {
        check(std::isfinite(weights[i]), StatusCode::NonFinite, "weights[", i,
              "] is NaN or infinite; all weights must be finite");
        check(weights[i] >= 0, StatusCode::InvalidArgument, "weights[", i, "] = ", weights[i],
              " is negative; weights must be 0 or more");
        any = any || weights[i] > 0;
    }
    check(any, StatusCode::InvalidArgument,
          "weights are all 0: at least one row must have a positive weight");
}

void check_initial(const KMeansOptions& options, size_t dim) {
    const MatrixView<const float>& initial = options.initial;
    if (initial.rows == 0) return;
    check(initial.rows == options.clusters && initial.cols == dim, StatusCode::InvalidArgument,
          "initial is ", initial.rows, " x ", initial.cols,
          ", but a warm start needs clusters x dim = ", options.clusters, " x ", dim, " values");
    check(options.method == KMeansMethod::Auto || options.method == KMeansMethod::Lloyd,
          StatusCode::InvalidArgument,
          "initial centroids were given, but only method Lloyd starts from given centroids: use "
          "it, or "
          "drop initial");
    check_finite(initial, "initial", options.threads);
}

void check_input(const Vectors& x, const KMeansOptions& options) {
    check(options.clusters >= 1, StatusCode::InvalidArgument,
          "clusters = 0, but k-means needs at least 1");
    check(options.metric != Metric::L1, StatusCode::Unsupported,
          "k-means with metric l1 is not supported: means do not minimise absolute differences; "
          "use l2");
    check(x.cols >= 1, StatusCode::InvalidArgument,
          "x has 0 columns: pass rows of at least 1 value");
    check_dim(x, x.cols, "x");
    check(x.rows >= options.clusters, StatusCode::InvalidArgument, "x has ", x.rows,
          " rows, fewer than clusters = ", options.clusters, ": pass at least ", options.clusters,
          " rows or ask for at most ", x.rows, " clusters");
    check(options.redo >= 1, StatusCode::InvalidArgument,
          "redo = 0, but k-means runs at least once");
    check_weights(options.weights, x.rows);
    check_initial(options, x.cols);
    check_finite(x, "x", options.threads);
}

bool is_better(const KMeansRun& a, const KMeansRun& b, Metric metric) {
    if (a.objective.empty() || b.objective.empty()) return false;
    return is_similarity(metric) ? a.objective.back() > b.objective.back()
                                 : a.objective.back() < b.objective.back();
}

KMeansRun warm_run(const KMeansPoints& points, const KMeansOptions& options,
                   const KMeansPlan& plan) {
    const size_t dim = points.x.cols;
    KMeansRun run;
    run.centroids.resize(plan.clusters * dim);
    for (size_t c = 0; c < plan.clusters; ++c) {
        std::copy_n(options.initial.row(c), dim, run.centroids.data() + c * dim);
        if (points.spherical()) normalize_centroid(run.centroids.data() + c * dim, dim, c);
    }
    iterate_lloyd(points, plan, run);
    return run;
}

// An assignment of a fraction of a millisecond is slower on several threads than on one.
int worthwhile_threads(const Vectors& x, const KMeansOptions& options) {
    const double products = static_cast<double>(x.rows) * static_cast<double>(options.clusters) *
                            static_cast<double>(x.cols);
    return products < 1e6 ? 1 : options.threads;
}

// The best of `redo` runs of run_once(random).
template <class RunOnce>
KMeansRun best_run(const KMeansOptions& options, const RunOnce& run_once) {
    KMeansRun best;
    for (size_t i = 0; i < options.redo; ++i) {
        Random random(options.seed + 1 + i);
        Random mixed(random.next());
        KMeansRun run = run_once(mixed);
        if (i == 0 || is_better(run, best, options.metric)) best = std::move(run);
    }
    return best;
}

}  // namespace

KMeansResult train_kmeans(const Vectors& x, const KMeansOptions& options, const Backend& backend) {
    check_input(x, options);
    const KMeansMethod method = chosen_method(options);
    const int threads = worthwhile_threads(x, options);
    const KMeansPlan plan{options.clusters, options.iterations, options.seeding, threads,
                          backend,          options.progress};
    KMeansResult result;
    result.clusters = options.clusters;
    result.dim = x.cols;
    result.points_given = x.rows;

    KMeansRun run;
    if (method == KMeansMethod::MiniBatch && x.rows > options.clusters) {
        result.points_used =
            std::min(x.rows, options.iterations * mini_batch_rows(x.rows, options.clusters));
        run = best_run(options, [&](Random& random) {
            const float* weights = options.weights.empty() ? nullptr : options.weights.data();
            return run_mini_batch(x, weights, options.metric, plan, random);
        });
    } else {
        const TrainingRows rows(x, options);
        const KMeansPoints& points = rows.points();
        const std::shared_ptr<const void> kept = backend.keep(points.x);
        result.points_used = points.x.rows;
        if (options.initial.rows > 0 && points.x.rows > plan.clusters) {
            run = warm_run(points, options, plan);
        } else {
            run = best_run(options, [&](Random& random) {
                return method == KMeansMethod::Hierarchical && points.x.rows > plan.clusters
                           ? run_hierarchical(points, plan, random)
                           : run_lloyd(points, plan, random);
            });
        }
    }
    result.centroids = std::move(run.centroids);
    result.objective = std::move(run.objective);
    result.empty_splits = run.empty_splits;
    return result;
}

}  // namespace nearcell
