#include <nearcell/quantize/rotation.h>

#include <algorithm>

#include <Eigen/QR>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>

#ifndef EIGEN_DONT_PARALLELIZE
#error "define EIGEN_DONT_PARALLELIZE: results must not depend on Eigen's choice of threads"
#endif

namespace nearcell {

std::vector<float> random_rotation(size_t in_dim, size_t out_dim, uint64_t seed) {
    check(in_dim >= 1 && out_dim >= 1, StatusCode::InvalidArgument, "a rotation from ", in_dim,
          " to ", out_dim, " dimensions: both must be at least 1");
    const Eigen::Index tall = static_cast<Eigen::Index>(std::max(in_dim, out_dim));
    const Eigen::Index thin = static_cast<Eigen::Index>(std::min(in_dim, out_dim));
    Random random(seed);
    Eigen::MatrixXd gaussian(tall, thin);
    for (Eigen::Index j = 0; j < thin; ++j) {
        for (Eigen::Index i = 0; i < tall; ++i)
            gaussian(i, j) = random.normal();
    }
    const Eigen::HouseholderQR<Eigen::MatrixXd> qr(gaussian);
    Eigen::MatrixXd q = qr.householderQ() * Eigen::MatrixXd::Identity(tall, thin);
    // QR is unique, and Q uniform over all rotations, only when the diagonal of R is positive.
    for (Eigen::Index j = 0; j < thin; ++j) {
        if (qr.matrixQR()(j, j) < 0) q.col(j) = -q.col(j);
    }

    std::vector<float> matrix(in_dim * out_dim);
    using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    Eigen::Map<RowMajor> out(matrix.data(), static_cast<Eigen::Index>(out_dim),
                             static_cast<Eigen::Index>(in_dim));
    if (out_dim <= in_dim) {
        out = q.transpose().cast<float>();
    } else {
        out = q.cast<float>();
    }
    return matrix;
}

}  // namespace nearcell
