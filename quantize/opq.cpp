#include <nearcell/quantize/opq.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include <Eigen/Eigenvalues>
#include <Eigen/QR>
#include <Eigen/SVD>

#include <nearcell/core/error.h>
#include <nearcell/core/parallel.h>
#include <nearcell/core/random.h>
#include <nearcell/core/vectors.h>
#include <nearcell/kernels/linear_map.h>
#include <nearcell/quantize/kmeans.h>
#include <nearcell/quantize/rotation.h>

#ifndef EIGEN_DONT_PARALLELIZE
#error "define EIGEN_DONT_PARALLELIZE: results must not depend on Eigen's choice of threads"
#endif

namespace nearcell {
namespace {

using Eigen::Index;
using RowMajorF = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using RowMajorD = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using ConstRows = Eigen::Map<const RowMajorF, 0, Eigen::OuterStride<>>;

constexpr size_t kFirstIterations = 40;    // Lloyd iterations before the first alternation
constexpr size_t kCovarianceRows = 16384;  // enough for the components of the start
constexpr size_t kPanel = 64;              // columns a task
constexpr double kOrthonormal = 1e-6;      // what products of columns may be off
constexpr double kSettled = 1e-4;          // stop when an alternation lowers the error by less

Index to_index(size_t value) { return static_cast<Index>(value); }

// The rows to learn from, a sample when there are many, moved to mean zero: a rotation serves the
// differences of vectors, and an offset would dominate all of them.
std::vector<float> centred_sample(MatrixView<const float> x, size_t max_points, uint64_t seed,
                                  size_t& rows) {
    rows = std::min(x.rows, max_points);
    std::vector<size_t> order;
    if (rows < x.rows) {
        Random random(seed);
        order = random_sample(x.rows, rows, random);
        std::sort(order.begin(), order.end());
    }
    std::vector<float> sample(rows * x.cols);
    std::vector<double> mean(x.cols);
    for (size_t i = 0; i < rows; ++i) {
        const float* row = x.row(order.empty() ? i : order[i]);
        std::copy(row, row + x.cols, &sample[i * x.cols]);
        for (size_t j = 0; j < x.cols; ++j)
            mean[j] += static_cast<double>(row[j]);
    }
    for (double& value : mean)
        value /= static_cast<double>(rows);
    for (size_t i = 0; i < rows; ++i) {
        float* row = &sample[i * x.cols];
        for (size_t j = 0; j < x.cols; ++j) {
            row[j] = static_cast<float>(static_cast<double>(row[j]) - mean[j]);
        }
    }
    return sample;
}

bool has_orthonormal_columns(const Eigen::MatrixXd& x) {
    const Eigen::MatrixXd products = x.transpose() * x;
    return products.isIdentity(kOrthonormal);  // not of NaN
}

// U V^T of x = U S V^T without BDCSVD, whose vectors of singular values 0 are, of some matrices,
// not orthonormal, or NaN. Eigenvectors and Householder's Q always are.
Eigen::MatrixXd polar_factor(const Eigen::MatrixXd& x) {
    if (x.rows() < x.cols()) return polar_factor(x.transpose()).transpose();
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(x.transpose() * x);
    const Eigen::MatrixXd v = solver.eigenvectors().rowwise().reverse();  // the largest value first
    const Eigen::HouseholderQR<Eigen::MatrixXd> scaled(x * v);            // U S
    Eigen::MatrixXd u = scaled.householderQ() * Eigen::MatrixXd::Identity(x.rows(), x.cols());
    for (Index j = 0; j < u.cols(); ++j) {
        if (scaled.matrixQR()(j, j) < 0) u.col(j) *= -1;
    }
    return u * v.transpose();
}

class OpqTrainer {
   public:
    OpqTrainer(MatrixView<const float> x, const OpqOptions& options, const Backend& backend)
        : options_(options),
          backend_(backend),
          in_dim_(x.cols),
          out_dim_(options.out_dim == 0 ? x.cols : options.out_dim),
          clusters_(size_t{1} << options.bits),
          x_(centred_sample(x, options.max_points, options.seed, rows_)),
          z_(rows_ * out_dim_),
          codebooks_(options.subquantizers),
          labels_(options.subquantizers, std::vector<uint32_t>(rows_)) {}

    std::vector<float> train() {
        rotation_ = allocated_components();
        rotate();
        double error = quantize(kFirstIterations, 0);
        for (size_t i = 1; i <= options_.iterations; ++i) {
            tell(static_cast<double>(i));
            solve_rotation();
            rotate();
            const double previous = error;
            error = quantize(options_.codebook_iterations, i);
            if (!(error < previous * (1 - kSettled))) break;
        }
        return rotation_;
    }

   private:
    // The uneven split of product codes: the first out_dim % M subspaces are one dimension wider.
    size_t begin(size_t m) const {
        const size_t count = options_.subquantizers;
        return m * (out_dim_ / count) + std::min(m, out_dim_ % count);
    }
    size_t width(size_t m) const { return begin(m + 1) - begin(m); }
    MatrixView<const float> part(size_t m) const {
        return {z_.data() + begin(m), rows_, width(m), out_dim_};
    }

    void tell(double done) const {
        report(options_.progress, "opq", done, static_cast<double>(options_.iterations + 1));
    }
    void rotate();
    double quantize(size_t iterations, size_t alternation);
    std::vector<float> means(size_t m) const;
    void solve_rotation();
    Eigen::MatrixXd correlation() const;
    std::optional<Eigen::MatrixXd> covariance() const;
    std::vector<float> allocated_components() const;
    std::vector<Index> allocate(const Eigen::VectorXd& variances) const;

    const OpqOptions& options_;
    const Backend& backend_;
    size_t in_dim_;
    size_t out_dim_;
    size_t clusters_;
    size_t rows_ = 0;
    std::vector<float> x_;  // rows x in_dim, mean zero
    std::vector<float> z_;  // x rotated
    std::vector<float> rotation_;
    std::vector<std::vector<float>> codebooks_;  // a subspace each
    std::vector<std::vector<uint32_t>> labels_;
};

void OpqTrainer::rotate() {
    const LinearMap map(in_dim_, out_dim_, rotation_, {});
    map.apply({x_.data(), rows_, in_dim_}, {z_.data(), rows_, out_dim_}, backend_,
              options_.threads);
}

// Refines the codebooks on z and encodes it. Returns the squared error of decoding x from its
// codes.
double OpqTrainer::quantize(size_t iterations, size_t alternation) {
    double error = 0;
    for (const float value : x_)
        error += static_cast<double>(value) * static_cast<double>(value);
    for (const float value : z_)
        error -= static_cast<double>(value) * static_cast<double>(value);
    const std::shared_ptr<const void> kept = backend_.keep({z_.data(), rows_, out_dim_});
    std::vector<float> keys(rows_);
    for (size_t m = 0; m < options_.subquantizers; ++m) {
        const std::vector<float> initial = codebooks_[m].empty() ? codebooks_[m] : means(m);
        KMeansOptions kmeans;
        kmeans.clusters = clusters_;
        kmeans.iterations = iterations;
        kmeans.method = KMeansMethod::Lloyd;
        kmeans.seed = options_.seed + m;
        kmeans.max_points_per_cluster = 0;
        if (!initial.empty()) kmeans.initial = {initial.data(), clusters_, width(m)};
        kmeans.threads = options_.threads;
        kmeans.progress = [&](std::string_view, double done, double total) {
            tell(static_cast<double>(alternation) +
                 (static_cast<double>(m) + done / total) /
                     static_cast<double>(options_.subquantizers));
            return true;
        };
        KMeansResult result = train_kmeans(part(m), kmeans, backend_);
        backend_.assign(part(m), result.view(), Metric::L2, labels_[m].data(), keys.data(),
                        options_.threads);
        for (const float key : keys)
            error += static_cast<double>(key);
        codebooks_[m] = std::move(result.centroids);
    }
    return error;
}

// The codebook that fits the present codes under the present rotation: a better start than the
// codebook of the previous rotation, and the step that makes every alternation an improvement.
std::vector<float> OpqTrainer::means(size_t m) const {
    const size_t dim = width(m);
    std::vector<double> sums(clusters_ * dim);
    std::vector<size_t> counts(clusters_);
    for (size_t i = 0; i < rows_; ++i) {
        const float* row = part(m).row(i);
        const size_t label = labels_[m][i];
        ++counts[label];
        for (size_t j = 0; j < dim; ++j)
            sums[label * dim + j] += static_cast<double>(row[j]);
    }
    std::vector<float> out = codebooks_[m];
    for (size_t c = 0; c < clusters_; ++c) {
        if (counts[c] == 0) continue;
        for (size_t j = 0; j < dim; ++j) {
            out[c * dim + j] =
                static_cast<float>(sums[c * dim + j] / static_cast<double>(counts[c]));
        }
    }
    return out;
}

// X^T Y, Y being the decoded codes. All rows with one code share their Y, so summing x by code
// first costs rows x in_dim additions a subspace where a matrix product would cost its width times
// that.
Eigen::MatrixXd OpqTrainer::correlation() const {
    Eigen::MatrixXd out(to_index(in_dim_), to_index(out_dim_));
    const size_t panels = (in_dim_ + kPanel - 1) / kPanel;
    parallel_for(options_.subquantizers * panels, options_.threads, [&](size_t task, int) {
        const size_t m = task / panels;
        const size_t first = task % panels * kPanel;
        const size_t count = std::min(kPanel, in_dim_ - first);
        RowMajorD sums = RowMajorD::Zero(to_index(clusters_), to_index(count));
        for (size_t i = 0; i < rows_; ++i) {
            const float* row = &x_[i * in_dim_ + first];
            double* sum = sums.row(static_cast<Index>(labels_[m][i])).data();
            for (size_t j = 0; j < count; ++j)
                sum[j] += static_cast<double>(row[j]);
        }
        const Eigen::Map<const RowMajorF> codebook(codebooks_[m].data(), to_index(clusters_),
                                                   to_index(width(m)));
        out.block(to_index(first), to_index(begin(m)), to_index(count), to_index(width(m)))
            .noalias() = sums.transpose() * codebook.cast<double>();
    });
    return out;
}

// Orthogonal Procrustes: the R that brings decoded codes closest to x is V U^T of X^T Y = U S V^T.
void OpqTrainer::solve_rotation() {
    const Eigen::MatrixXd target = correlation();
    check(target.allFinite(), StatusCode::NonFinite,
          "the codebooks of OPQ overflow: scale x to values whose squares fit float32");
    const Eigen::BDCSVD<Eigen::MatrixXd> svd(target, Eigen::ComputeThinU | Eigen::ComputeThinV);
    Eigen::MatrixXd rotation = svd.matrixV() * svd.matrixU().transpose();
    if (!has_orthonormal_columns(svd.matrixU()) || !has_orthonormal_columns(svd.matrixV())) {
        rotation = polar_factor(target).transpose();
    }
    Eigen::Map<RowMajorF>(rotation_.data(), to_index(out_dim_), to_index(in_dim_)) =
        rotation.cast<float>();
}

// The lower triangle of X^T X over some of the rows, in float: the start need not be exact.
std::optional<Eigen::MatrixXd> OpqTrainer::covariance() const {
    const size_t step = std::max<size_t>(1, rows_ / kCovarianceRows);
    const ConstRows x(x_.data(), to_index(rows_ / step), to_index(in_dim_),
                      Eigen::OuterStride<>(to_index(step * in_dim_)));
    Eigen::MatrixXf products = Eigen::MatrixXf::Zero(to_index(in_dim_), to_index(in_dim_));
    parallel_for((in_dim_ + kPanel - 1) / kPanel, options_.threads, [&](size_t task, int) {
        const Index first = to_index(task * kPanel);
        const Index rest = to_index(in_dim_) - first;
        const Index count = std::min(to_index(kPanel), rest);
        products.block(first, first, rest, count).noalias() =
            x.rightCols(rest).transpose() * x.middleCols(first, count);
    });
    if (!products.allFinite()) return std::nullopt;
    return products.cast<double>();
}

// Deals the components to the subspaces, largest variance first, each to the subspace whose product
// of variances is smallest so far ("eigenvalue allocation", the parametric OPQ of the paper).
// Returns the component of each output dimension, or -1 for dimensions beyond the components.
std::vector<Index> OpqTrainer::allocate(const Eigen::VectorXd& variances) const {
    const double floor = 1e-9 * variances[0];
    std::vector<double> weight(options_.subquantizers);
    std::vector<size_t> used(options_.subquantizers);
    std::vector<Index> order(out_dim_, -1);
    for (Index i = 0; i < std::min(variances.size(), to_index(out_dim_)); ++i) {
        size_t best = options_.subquantizers;
        for (size_t m = 0; m < options_.subquantizers; ++m) {
            if (used[m] == width(m)) continue;
            if (best == options_.subquantizers || weight[m] < weight[best]) best = m;
        }
        order[begin(best) + used[best]++] = i;
        weight[best] += std::log(std::max(variances[i], floor) / floor);
    }
    return order;
}

std::vector<float> OpqTrainer::allocated_components() const {
    const std::optional<Eigen::MatrixXd> products = covariance();
    if (!products) return random_rotation(in_dim_, out_dim_, options_.seed);
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(*products);
    const Eigen::VectorXd variances = solver.eigenvalues().reverse();
    if (solver.info() != Eigen::Success || !(variances[0] > 0)) {
        return random_rotation(in_dim_, out_dim_, options_.seed);
    }
    const std::vector<Index> order = allocate(variances);
    std::vector<float> matrix(out_dim_ * in_dim_);
    Eigen::Map<RowMajorF> out(matrix.data(), to_index(out_dim_), to_index(in_dim_));
    for (size_t i = 0; i < out_dim_; ++i) {
        if (order[i] < 0) continue;
        const Index column = to_index(in_dim_) - 1 - order[i];
        out.row(to_index(i)) = solver.eigenvectors().col(column).transpose().cast<float>();
    }
    return matrix;
}

void check_options(const OpqOptions& options, MatrixView<const float> x) {
    check_dim(x, std::max<size_t>(x.cols, 1), "x");
    const size_t out_dim = options.out_dim == 0 ? x.cols : options.out_dim;
    check(options.subquantizers >= 1 && options.subquantizers <= out_dim,
          StatusCode::InvalidArgument, "subquantizers = ", options.subquantizers,
          " must be 1 to the output dimension, ", out_dim);
    check(options.bits >= 1 && options.bits <= 8, StatusCode::InvalidArgument,
          "bits = ", options.bits, " must be 1 to 8");
    const size_t needed = size_t{1} << options.bits;
    check(options.codebook_iterations >= 1, StatusCode::InvalidArgument,
          "codebook_iterations = 0 must be at least 1");
    check(options.max_points >= needed, StatusCode::InvalidArgument,
          "max_points = ", options.max_points, " must be at least ", needed, " for codes of ",
          options.bits, " bits");
    check(x.rows >= needed, StatusCode::InvalidArgument, "x has ", x.rows, " rows, but codes of ",
          options.bits, " bits need at least ", needed,
          " to train on: pass more rows or fewer bits");
}

}  // namespace

std::vector<float> train_opq(MatrixView<const float> x, const OpqOptions& options,
                             const Backend& backend) {
    check_options(options, x);
    check_finite(x, "x", options.threads);
    return OpqTrainer(x, options, backend).train();
}

}  // namespace nearcell
