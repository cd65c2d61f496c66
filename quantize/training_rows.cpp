#include <nearcell/quantize/training_rows.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>
#include <nearcell/quantize/row_blocks.h>

namespace nearcell {
namespace {

constexpr size_t kRowsPerTask = 1024;

double length(const float* row, size_t dim) {
    double squares = 0;
    for (size_t j = 0; j < dim; ++j) {
        squares += static_cast<double>(row[j]) * static_cast<double>(row[j]);
    }
    return std::sqrt(squares);
}

size_t row_limit(size_t rows, const KMeansOptions& options) {
    const size_t per_cluster = options.max_points_per_cluster;
    if (per_cluster == 0 || per_cluster > rows / options.clusters) return rows;
    return per_cluster * options.clusters;
}

}  // namespace

KMeansPoints kmeans_points(MatrixView<const float> x, std::vector<float>& weights, Metric metric,
                           int threads) {
    if (metric == Metric::Cosine) {
        if (weights.empty()) weights.assign(x.rows, 1.0f);
        for_row_blocks(x.rows, kRowsPerTask, threads, [&](size_t first, size_t count) {
            for (size_t i = first; i < first + count; ++i) {
                const double norm = length(x.row(i), x.cols);
                const double weight = static_cast<double>(weights[i]);
                weights[i] = norm > 0 ? static_cast<float>(weight / norm) : 0.0f;
            }
        });
    }
    return {x, weights.empty() ? nullptr : weights.data(),
            is_similarity(metric) ? Metric::InnerProduct : Metric::L2};
}

TrainingRows::TrainingRows(const Vectors& x, const KMeansOptions& options) {
    const size_t used = row_limit(x.rows, options);
    check(used <= std::numeric_limits<uint32_t>::max(), StatusCode::InvalidArgument,
          "k-means would use ", used,
          " rows, but handles at most 4294967295: lower max_points_per_cluster");
    const bool aligned = reinterpret_cast<uintptr_t>(x.data) % alignof(float) == 0;
    MatrixView<const float> rows;
    if (used < x.rows) {
        sample(x, used, options);
        rows = {copy_.data(), used, x.cols};
    } else {
        weights_.assign(options.weights.begin(), options.weights.end());
        if (x.type == ElementType::Float32 && aligned) {
            rows = {static_cast<const float*>(x.data), x.rows, x.cols, x.stride};
        } else {
            copy_all(x, options.threads);
            rows = {copy_.data(), x.rows, x.cols};
        }
    }
    points_ = kmeans_points(rows, weights_, options.metric, options.threads);
}

void TrainingRows::sample(const Vectors& x, size_t count, const KMeansOptions& options) {
    Random random(options.seed);
    const std::vector<size_t> rows = sorted_sample(x.rows, count, random);
    copy_.resize_for_overwrite(count * x.cols);
    gather_rows(x, rows.data(), {copy_.mutable_data(), count, x.cols}, options.threads);
    if (options.weights.empty()) return;
    for (size_t row : rows)
        weights_.push_back(options.weights[row]);
}

void TrainingRows::copy_all(const Vectors& x, int threads) {
    copy_.resize_for_overwrite(x.rows * x.cols);
    float* const copy = copy_.mutable_data();
    for_row_blocks(x.rows, kRowsPerTask, threads, [&](size_t first, size_t count) {
        read_rows(x, first, {copy + first * x.cols, count, x.cols});
    });
}

}  // namespace nearcell
