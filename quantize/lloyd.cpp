#include <nearcell/quantize/lloyd.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include <nearcell/core/parallel.h>
#include <nearcell/quantize/empty_clusters.h>

namespace nearcell {
namespace {

constexpr size_t kSumRows = 4096;  // rows of one partial sum of the objective

}  // namespace

double clustering_objective(const KMeansPoints& points, const std::vector<float>& keys,
                            int threads) {
    const size_t tasks = (keys.size() + kSumRows - 1) / kSumRows;
    std::vector<double> partial(tasks, 0.0);
    parallel_for(tasks, threads, [&](size_t task, int) {
        const size_t end = std::min(keys.size(), (task + 1) * kSumRows);
        double sum = 0;
        for (size_t i = task * kSumRows; i < end; ++i) {
            sum += points.weight(i) * static_cast<double>(keys[i]);
        }
        partial[task] = sum;
    });
    double sum = 0;
    for (double part : partial)
        sum += part;
    return points.spherical() ? -sum : sum;
}

void normalize_centroid(float* centroid, size_t dim, size_t fallback) {
    double squares = 0;
    for (size_t j = 0; j < dim; ++j) {
        squares += static_cast<double>(centroid[j]) * static_cast<double>(centroid[j]);
    }
    if (!(squares > 0)) {
        std::fill(centroid, centroid + dim, 0.0f);
        centroid[fallback % dim] = 1.0f;
        return;
    }
    const double inverse = 1.0 / std::sqrt(squares);
    for (size_t j = 0; j < dim; ++j) {
        centroid[j] = static_cast<float>(static_cast<double>(centroid[j]) * inverse);
    }
}

Lloyd::Lloyd(const KMeansPoints& points, size_t clusters, const Backend& backend, int threads)
    : points_(points),
      clusters_(clusters),
      backend_(backend),
      threads_(threads),
      labels_(points.x.rows, 0),
      keys_(points.x.rows) {}

bool Lloyd::assign(const std::vector<float>& centroids) {
    const bool first = previous_.empty();
    std::swap(labels_, previous_);
    labels_.resize(points_.x.rows);
    backend_.assign(points_.x, {centroids.data(), clusters_, points_.x.cols}, points_.metric,
                    labels_.data(), keys_.data(), threads_);
    return first || labels_ != previous_;
}

size_t Lloyd::update(std::vector<float>& centroids) {
    move_to_means(centroids);
    std::vector<size_t> empty;
    for (size_t c = 0; c < clusters_; ++c) {
        if (groups_.size(c) == 0) empty.push_back(c);
    }
    refill_empty_clusters(points_, groups_, keys_, empty, centroids.data());
    return empty.size();
}

size_t Lloyd::blend(std::vector<float>& centroids, std::vector<double>& seen) {
    const size_t dim = points_.x.cols;
    std::vector<float> means = centroids;
    move_to_means(means);
    std::vector<size_t> empty;
    for (size_t c = 0; c < clusters_; ++c) {
        const double weight = cluster_weight(c);
        seen[c] += weight;
        if (!(seen[c] > 0)) empty.push_back(c);
        if (!(weight > 0)) continue;
        const float rate = static_cast<float>(weight / seen[c]);
        float* centroid = centroids.data() + c * dim;
        const float* mean = means.data() + c * dim;
        for (size_t j = 0; j < dim; ++j)
            centroid[j] += rate * (mean[j] - centroid[j]);
        if (points_.spherical()) normalize_centroid(centroid, dim, c);
    }
    refill_empty_clusters(points_, groups_, keys_, empty, centroids.data());
    return empty.size();
}

double Lloyd::cluster_weight(size_t cluster) const {
    double weight = 0;
    for (const uint32_t row : groups_.rows(cluster))
        weight += points_.weight(row);
    return weight;
}

void Lloyd::move_to_means(std::vector<float>& centroids) {
    groups_.group(labels_, clusters_, threads_);
    backend_.move_to_means(points_.x, points_.weights, groups_.view(), points_.spherical(),
                           {centroids.data(), clusters_, points_.x.cols}, threads_);
}

}  // namespace nearcell
