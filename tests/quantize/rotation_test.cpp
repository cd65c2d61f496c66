#include <nearcell/quantize/rotation.h>

#include <cmath>
#include <utility>

#include <gtest/gtest.h>

#include <nearcell/core/error.h>
#include <nearcell/kernels/linear_map.h>
#include <quantize/orthonormal.h>
#include <quantize/sample_data.h>

namespace nearcell {
namespace {

TEST(RandomRotation, IsOrthonormal) {
    for (const auto& [in_dim, out_dim] : {std::pair<size_t, size_t>{1, 1},
                                          {7, 7},
                                          {100, 100},
                                          {96, 33},
                                          {33, 96},
                                          {1, 5},
                                          {5, 1}}) {
        EXPECT_LT(orthonormal_error(random_rotation(in_dim, out_dim, 1), in_dim, out_dim), 1e-6)
            << in_dim << " to " << out_dim;
    }
}

TEST(RandomRotation, DependsOnTheSeedOnly) {
    EXPECT_EQ(random_rotation(20, 12, 5), random_rotation(20, 12, 5));
    EXPECT_NE(random_rotation(20, 12, 5), random_rotation(20, 12, 6));
}

// A uniformly random rotation has no preferred signs: without the sign fix the diagonal of Q would
// be negative far more often than not.
TEST(RandomRotation, HasNoPreferredSign) {
    const size_t dim = 8, draws = 400;
    std::vector<double> mean(dim * dim);
    for (size_t seed = 0; seed < draws; ++seed) {
        const std::vector<float> matrix = random_rotation(dim, dim, seed);
        for (size_t i = 0; i < mean.size(); ++i)
            mean[i] += static_cast<double>(matrix[i]);
    }
    // The mean of `draws` values of variance 1 / dim: five standard deviations.
    const double bound = 5 / std::sqrt(static_cast<double>(dim * draws));
    for (const double value : mean)
        EXPECT_LT(std::fabs(value / draws), bound);
}

TEST(RandomRotation, TransposedMapIsTheInverse) {
    const Matrix x = gaussian_rows(50, 20, 3);
    for (const size_t out_dim : {size_t{20}, size_t{31}}) {
        const std::vector<float> matrix = random_rotation(20, out_dim, 4);
        std::vector<float> transposed(matrix.size());
        for (size_t i = 0; i < matrix.size(); ++i) {
            transposed[i % 20 * out_dim + i / 20] = matrix[i];
        }
        const LinearMap map(20, out_dim, matrix, {}), inverse(out_dim, 20, transposed, {});
        Matrix y(50, out_dim), back(50, 20);
        map.apply(x.view(), y.view(), cpu_backend(), 1);
        inverse.apply(y.view(), back.view(), cpu_backend(), 1);
        for (size_t i = 0; i < back.values.size(); ++i) {
            ASSERT_NEAR(back.values[i], x.values[i], 1e-5f);
        }
    }
}

TEST(RandomRotation, RefusesNoDimensions) {
    EXPECT_THROW(random_rotation(0, 3, 1), Error);
    EXPECT_THROW(random_rotation(3, 0, 1), Error);
}

}  // namespace
}  // namespace nearcell
