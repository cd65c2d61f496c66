// Backend::move_to_means: the sums of Lloyd's update. Bound by memory: each row is read once, from
// anywhere.
#include <algorithm>
#include <cmath>
#include <vector>

#include <nearcell/core/parallel.h>
#include <nearcell/cpu/cpu_backend.h>

namespace nearcell {
namespace {

constexpr size_t kGroupsPerTask = 8;    // few enough to share out, enough to be worth a task
constexpr size_t kPrefetchFloats = 64;  // of the next row; the hardware follows from there

void prefetch_row(const float* row, size_t dim) {
    for (size_t j = 0; j < std::min(dim, kPrefetchFloats); j += 16)
        __builtin_prefetch(row + j);
}

void add_row(const float* row, size_t dim, double* sum) {
    for (size_t j = 0; j < dim; ++j)
        sum[j] += static_cast<double>(row[j]);
}

void add_weighted_row(const float* row, double weight, size_t dim, double* sum) {
    for (size_t j = 0; j < dim; ++j)
        sum[j] += weight * static_cast<double>(row[j]);
}

// Returns the weight of all rows.
double add_rows(MatrixView<const float> x, const float* weights, const uint32_t* rows, size_t count,
                double* sum) {
    const size_t dim = x.cols;
    std::fill(sum, sum + dim, 0.0);
    double total = 0;
    for (size_t i = 0; i < count; ++i) {
        if (i + 2 < count) prefetch_row(x.row(rows[i + 2]), dim);
        const float* row = x.row(rows[i]);
        if (weights == nullptr) {
            add_row(row, dim, sum);
            total += 1.0;
        } else {
            const double weight = static_cast<double>(weights[rows[i]]);
            add_weighted_row(row, weight, dim, sum);
            total += weight;
        }
    }
    return total;
}

void finish_mean(const double* sum, double total, bool unit, size_t dim, float* mean) {
    if (!(total > 0)) return;  // no rows, or none that count
    if (unit) {
        double squares = 0;
        for (size_t j = 0; j < dim; ++j)
            squares += sum[j] * sum[j];
        if (!(squares > 0)) return;
        total = std::sqrt(squares);
    }
    for (size_t j = 0; j < dim; ++j)
        mean[j] = static_cast<float>(sum[j] / total);
}

}  // namespace

void CpuBackend::move_to_means(MatrixView<const float> x, const float* weights,
                               const RowGroups& groups, bool unit, MatrixView<float> means,
                               int threads) const {
    const size_t tasks = (groups.count + kGroupsPerTask - 1) / kGroupsPerTask;
    parallel_for(tasks, threads, [&](size_t task, int) {
        std::vector<double> sum(x.cols);
        const size_t end = std::min(groups.count, (task + 1) * kGroupsPerTask);
        for (size_t g = task * kGroupsPerTask; g < end; ++g) {
            const size_t first = groups.begin[g], count = groups.begin[g + 1] - first;
            const double total = add_rows(x, weights, groups.order + first, count, sum.data());
            finish_mean(sum.data(), total, unit, x.cols, means.row(g));
        }
    });
}

}  // namespace nearcell
