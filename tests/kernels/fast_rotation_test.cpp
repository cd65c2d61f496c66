#include <nearcell/kernels/fast_rotation.h>

#include <cmath>

#include <gtest/gtest.h>

#include <nearcell/core/error.h>
#include <nearcell/cpu/cpu_backend.h>
#include <nearcell/cpu/isa_select.h>

#include "backend_case.h"

namespace nearcell {
namespace {

using checks::Matrix;

class FastRotationTest : public testing::TestWithParam<const KernelTable*> {
   protected:
    const CpuBackend backend{*GetParam()};

    Matrix rotated(const FastRotation& rotation, const Matrix& x, int threads = 1) const {
        Matrix out(x.rows, x.cols);
        rotation.apply(x.view(), out.view(), backend, threads);
        return out;
    }
};

double dot(const Matrix& a, size_t i, const Matrix& b, size_t j) {
    double sum = 0;
    for (size_t c = 0; c < a.cols; ++c)
        sum += static_cast<double>(a.row(i)[c]) * static_cast<double>(b.row(j)[c]);
    return sum;
}

TEST_P(FastRotationTest, KeepsDotProductsAndHasAnInverse) {
    Random random(3);
    for (const size_t d : std::initializer_list<size_t>{1, 2, 3, 5, 15, 16, 17, 31, 33, 100, 128,
                                                        130, 200, 255, 784, 1000}) {
        const Matrix x(5, d, random);
        const FastRotation rotation(d, 7);
        const Matrix y = rotated(rotation, x);
        Matrix back(5, d);
        rotation.inverse(y.view(), back.view(), backend, 1);
        for (size_t i = 0; i < 5; ++i) {
            for (size_t j = 0; j < 5; ++j)
                EXPECT_NEAR(dot(x, i, x, j), dot(y, i, y, j), 1e-5 * static_cast<double>(d));
            for (size_t c = 0; c < d; ++c)
                EXPECT_NEAR(x.row(i)[c], back.row(i)[c], 2e-5) << "d " << d;
        }
    }
}

// A unit vector must not stay in a few dimensions: a Gaussian direction's largest of d values is
// about sqrt(2 ln d / d).
TEST_P(FastRotationTest, SpreadsUnitVectors) {
    for (const size_t d :
         std::initializer_list<size_t>{64, 96, 128, 130, 255, 384, 784, 1000, 1023}) {
        const FastRotation rotation(d, 11);
        Matrix x(d, d);
        std::fill(x.data.begin(), x.data.end(), 0.0f);
        for (size_t i = 0; i < d; ++i)
            x.row(i)[i] = 1;
        const Matrix y = rotated(rotation, x);
        const double n = static_cast<double>(d);
        double fourth = 0;  // of Gaussian directions about 3 / d^2, each
        for (size_t i = 0; i < d; ++i) {
            for (size_t c = 0; c < d; ++c) {
                const double value = static_cast<double>(y.row(i)[c]);
                EXPECT_LT(std::fabs(value), 3 * std::sqrt(2 * std::log(n) / n)) << "d " << d;
                fourth += value * value * value * value;
            }
        }
        EXPECT_LT(fourth / n, 4.0 / n) << "d " << d;
    }
}

TEST_P(FastRotationTest, DependsOnTheSeedOnly) {
    Random random(4);
    const Matrix x(400, 77, random);
    const FastRotation rotation(77, 5);
    EXPECT_EQ(rotated(rotation, x).data, rotated(rotation, x, 3).data);
    EXPECT_EQ(rotated(rotation, x).data, rotated(FastRotation(77, rotation.signs()), x).data);
    EXPECT_NE(rotated(rotation, x).data, rotated(FastRotation(77, 6), x).data);
}

TEST(FastRotation, RefusesWhatAreNoSigns) {
    const FastRotation rotation(9, 1);
    std::vector<float> signs = rotation.signs();
    signs[3] = 0.5f;
    EXPECT_THROW(FastRotation(9, signs), Error);
    signs.resize(8);
    EXPECT_THROW(FastRotation(9, signs), Error);
}

INSTANTIATE_TEST_SUITE_P(Isa, FastRotationTest, testing::ValuesIn(runnable_tables()),
                         [](const auto& table) { return std::string(table.param->isa); });

}  // namespace
}  // namespace nearcell
