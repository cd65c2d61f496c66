#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <Eigen/Eigenvalues>

#include <nearcell/core/error.h>
#include <nearcell/core/parallel.h>
#include <nearcell/pca/pca.h>

#ifndef EIGEN_DONT_PARALLELIZE
#error "define EIGEN_DONT_PARALLELIZE: results must not depend on Eigen's choice of threads"
#endif

namespace nearcell {
namespace {

using Eigen::Index;
using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Stride = Eigen::OuterStride<>;
using Panel = Eigen::Map<const RowMajor, 0, Stride>;

constexpr size_t kBlockRows = 1024;  // rows converted and multiplied at a time
constexpr size_t kLoadRows = 64;     // rows a task converts
constexpr size_t kTile = 64;         // a task's tile of the covariance is this many columns squared
constexpr size_t kMaxDim = 65536;

Index to_index(size_t value) { return static_cast<Index>(value); }

// The tiles on and above the diagonal. Every tile sums its rows in their order, whichever thread it
// runs on: that is what makes the bits independent of the number of threads.
std::vector<std::pair<size_t, size_t>> upper_tiles(size_t dim) {
    std::vector<std::pair<size_t, size_t>> tiles;
    for (size_t i = 0; i < dim; i += kTile) {
        for (size_t j = i; j < dim; j += kTile)
            tiles.emplace_back(i, j);
    }
    return tiles;
}

std::vector<double> mean_of_head(const Vectors& rows) {
    const size_t count = std::min(rows.rows, kBlockRows);
    std::vector<float> row(rows.cols);
    std::vector<double> mean(rows.cols);
    for (size_t i = 0; i < count; ++i) {
        read_rows(rows, i, {row.data(), 1, rows.cols});
        for (size_t j = 0; j < rows.cols; ++j)
            mean[j] += static_cast<double>(row[j]);
    }
    for (double& value : mean)
        value /= static_cast<double>(count);
    return mean;
}

void load_block(const Vectors& rows, const std::vector<double>& shift, int threads, double* block) {
    const size_t dim = rows.cols;
    parallel_for((rows.rows + kLoadRows - 1) / kLoadRows, threads, [&](size_t task, int) {
        std::vector<float> row(dim);
        for (size_t i = task * kLoadRows; i < std::min(rows.rows, (task + 1) * kLoadRows); ++i) {
            read_rows(rows, i, {row.data(), 1, dim});
            for (size_t j = 0; j < dim; ++j) {
                block[i * dim + j] = static_cast<double>(row[j]) - shift[j];
            }
        }
    });
}

void check_options(const PcaOptions& options, size_t dim) {
    check(options.components >= 1 && options.components <= dim, StatusCode::InvalidArgument,
          "components = ", options.components, " must be 1 to the dimension, ", dim);
    check(!options.whiten || (options.epsilon >= kMinWhiteningEpsilon && options.epsilon <= 1),
          StatusCode::InvalidArgument, "epsilon = ", options.epsilon, " must be ",
          kMinWhiteningEpsilon, " to 1: it keeps whitening finite where the data has no variance");
}

// In ascending order; vectors are columns.
struct Components {
    Eigen::MatrixXd vectors;
    Eigen::VectorXd variances;
};

// Of a matrix whose lower triangle is given.
Components components_of(Eigen::MatrixXd covariance, const Backend& backend) {
    Components found{std::move(covariance), {}};
    const Index dim = found.vectors.rows();
    found.variances.resize(dim);
    if (backend.solve_symmetric(static_cast<size_t>(dim), found.vectors.data(),
                                found.variances.data()))
        return found;
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(found.vectors);
    check(solver.info() == Eigen::Success, StatusCode::InvalidArgument,
          "the eigenvalues of the covariance did not converge: scale the rows to moderate values");
    return {solver.eigenvectors(), solver.eigenvalues()};
}

// The first entry of largest magnitude becomes positive.
void fix_sign(float* component, size_t dim) {
    const float* largest = std::max_element(
        component, component + dim, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
    if (*largest > 0) return;
    for (size_t j = 0; j < dim; ++j)
        component[j] = -component[j];
}

float to_float(double value) {
    check(std::fabs(value) <= static_cast<double>(std::numeric_limits<float>::max()),
          StatusCode::InvalidArgument,
          "the variance of the rows overflows float32: scale them to values below 1e18");
    return static_cast<float>(value);
}

}  // namespace

Pca::Fitter::Fitter(size_t dim) : dim_(dim) {
    check(dim >= 1 && dim <= kMaxDim, StatusCode::InvalidArgument, "dim = ", dim, " must be 1 to ",
          kMaxDim);
    shift_.resize(dim);
    sum_.resize(dim);
    products_.resize(dim * dim);
}

// Adds the first rows, as far as the backend takes them, and returns how many these are.
size_t Pca::Fitter::add_by(const Backend& backend, const Vectors& rows, int threads) {
    const size_t slice = std::max(kBlockRows, backend.least_rows());
    const bool floats = rows.type == ElementType::Float32 &&
                        reinterpret_cast<uintptr_t>(rows.data) % alignof(float) == 0;
    if (floats) {
        const MatrixView<const float> x(static_cast<const float*>(rows.data), rows.rows, dim_,
                                        rows.stride);
        const bool done =
            backend.add_products(x, shift_.data(), sum_.data(), products_.data(), threads);
        return done ? rows.rows : 0;
    }
    if (backend.least_rows() == 1) return 0;  // the CPU's leaves it, and need not be asked
    std::vector<float> values(std::min(slice, rows.rows) * dim_);
    size_t first = 0;
    while (first < rows.rows) {
        const MatrixView<float> part(values.data(), std::min(slice, rows.rows - first), dim_);
        parallel_for((part.rows + kLoadRows - 1) / kLoadRows, threads, [&](size_t task, int) {
            const size_t row = task * kLoadRows, count = std::min(kLoadRows, part.rows - row);
            read_rows(rows, first + row, part.slice(row, count));
        });
        if (!backend.add_products(part, shift_.data(), sum_.data(), products_.data(), threads))
            break;
        first += part.rows;
    }
    return first;
}

// Whether the sums say of every row added that check_finite() has nothing against it. Never where
// it has; and not of many rows of values near the largest.
bool Pca::Fitter::tell_finite() const {
    const auto limit = 0.999 * static_cast<double>(largest_value(dim_));
    for (size_t j = 0; j < dim_; ++j) {
        const double most = std::fabs(shift_[j]) + std::sqrt(products_[j * dim_ + j]);
        if (!(most <= limit)) return false;
    }
    return true;
}

// Adds the first rows, as far as a device takes them, and returns how many these are. It reads rows
// on their way there: to read them all before would take about as long again, so that its sums are
// looked at.
size_t Pca::Fitter::add_checked(const Backend& backend, const Vectors& rows, int threads) {
    const size_t taken = add_by(backend, rows, threads);
    const size_t unread = taken > 0 && tell_finite() ? taken : 0;
    check_finite(rows.slice(unread, rows.rows - unread), "rows", threads, unread);
    return taken;
}

void Pca::Fitter::add_all(const Vectors& rows, const Backend& backend, int threads,
                          const Progress& progress) {
    const std::vector<std::pair<size_t, size_t>> tiles = upper_tiles(dim_);
    std::vector<double> block(std::min(rows.rows, kBlockRows) * dim_);
    const auto total = static_cast<double>(rows.rows);
    report(progress, "pca", 0, total);
    for (size_t first = add_checked(backend, rows, threads); first < rows.rows;
         first += kBlockRows) {
        report(progress, "pca", static_cast<double>(first), total);
        const size_t count = std::min(kBlockRows, rows.rows - first);
        load_block(rows.slice(first, count), shift_, threads, block.data());
        parallel_for(tiles.size(), threads, [&](size_t task, int) {
            const auto [i, j] = tiles[task];
            const Index width_i = to_index(std::min(kTile, dim_ - i));
            const Index width_j = to_index(std::min(kTile, dim_ - j));
            const Stride stride(to_index(dim_));
            const Panel left(block.data() + i, to_index(count), width_i, stride);
            const Panel right(block.data() + j, to_index(count), width_j, stride);
            Eigen::Map<RowMajor, 0, Stride> tile(&products_[i * dim_ + j], width_i, width_j,
                                                 stride);
            tile.noalias() += left.transpose() * right;
            if (i == j) {
                Eigen::Map<Eigen::RowVectorXd>(&sum_[i], width_i) += left.colwise().sum();
            }
        });
    }
    report(progress, "pca", total, total);
}

// Sums are taken back where they are of rows that must not be, and where the call is cancelled.
void Pca::Fitter::add(const Vectors& rows, const Backend& backend, int threads,
                      const Progress& progress) {
    check_dim(rows, dim_, "rows");
    if (rows.rows == 0) return;
    const bool is_first = rows_ == 0;
    const std::vector<double> sum = sum_, products = is_first ? std::vector<double>() : products_;
    try {
        if (is_first) shift_ = mean_of_head(rows);
        add_all(rows, backend, threads, progress);
    } catch (...) {
        sum_ = sum;
        if (is_first)
            std::fill(products_.begin(), products_.end(), 0.0);
        else
            products_ = products;
        throw;
    }
    rows_ += rows.rows;
}

Pca Pca::Fitter::finish(const PcaOptions& options, const Backend& backend) const {
    check_options(options, dim_);
    check(rows_ >= 2, StatusCode::InvalidArgument, "PCA was given ", rows_,
          " rows, but needs at least 2");
    const double n = static_cast<double>(rows_);
    Eigen::MatrixXd covariance(to_index(dim_), to_index(dim_));  // its lower triangle
    for (size_t i = 0; i < dim_; ++i) {
        for (size_t j = i; j < dim_; ++j) {
            covariance(to_index(j), to_index(i)) =
                (products_[i * dim_ + j] - sum_[i] * sum_[j] / n) / (n - 1);
        }
    }
    Pca pca;
    pca.options_ = options;
    pca.total_variance_ = std::max(0.0, covariance.trace());
    const Components found = components_of(std::move(covariance), backend);
    for (size_t j = 0; j < dim_; ++j)
        pca.mean_.push_back(to_float(shift_[j] + sum_[j] / n));
    pca.matrix_.resize(options.components * dim_);
    for (size_t c = 0; c < options.components; ++c) {
        const Index column = to_index(dim_ - 1 - c);
        pca.variances_.push_back(to_float(std::max(0.0, found.variances[column])));
        float* component = &pca.matrix_[c * dim_];
        Eigen::Map<Eigen::VectorXf>(component, to_index(dim_)) =
            found.vectors.col(column).cast<float>();
        fix_sign(component, dim_);
    }
    pca.build_maps();
    return pca;
}

}  // namespace nearcell
