#include <nearcell/kernels/linear_map.h>

#include <cmath>
#include <functional>
#include <limits>

#include <gtest/gtest.h>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>

namespace nearcell {
namespace {

std::vector<float> normals(size_t count, uint64_t seed) {
    Random random(seed);
    std::vector<float> values(count);
    for (float& value : values)
        value = static_cast<float>(random.normal());
    return values;
}

struct Shape {
    size_t rows, in_dim, out_dim;
    bool bias;
};

class LinearMapShapes : public testing::TestWithParam<Shape> {};

// |error| <= n eps sum |a x| for each output, n being the number of terms.
TEST_P(LinearMapShapes, MatchesDoubleReference) {
    const auto [rows, in_dim, out_dim, with_bias] = GetParam();
    const std::vector<float> matrix = normals(in_dim * out_dim, 1);
    const std::vector<float> bias = with_bias ? normals(out_dim, 2) : std::vector<float>();
    const size_t in_stride = in_dim + 3, out_stride = out_dim + 5;
    const std::vector<float> x = normals(rows * in_stride, 3);
    std::vector<float> y(rows * out_stride, -7.0f);
    const LinearMap map(in_dim, out_dim, matrix, bias);
    map.apply({x.data(), rows, in_dim, in_stride}, {y.data(), rows, out_dim, out_stride},
              cpu_backend(), 2);
    for (size_t i = 0; i < rows; ++i) {
        for (size_t o = 0; o < out_dim; ++o) {
            double sum = with_bias ? static_cast<double>(bias[o]) : 0.0, size = std::fabs(sum);
            for (size_t j = 0; j < in_dim; ++j) {
                const double term = static_cast<double>(matrix[o * in_dim + j]) *
                                    static_cast<double>(x[i * in_stride + j]);
                sum += term;
                size += std::fabs(term);
            }
            const double bound = size * static_cast<double>(in_dim + 2) * 0x1p-24;
            ASSERT_NEAR(static_cast<double>(y[i * out_stride + o]), sum, bound) << i << ", " << o;
        }
        for (size_t pad = out_dim; pad < out_stride; ++pad) {
            ASSERT_EQ(y[i * out_stride + pad], -7.0f) << "wrote past the columns of out";
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, LinearMapShapes,
                         testing::Values(Shape{1, 1, 1, true}, Shape{63, 7, 5, false},
                                         Shape{64, 16, 16, true}, Shape{65, 33, 17, true},
                                         Shape{130, 100, 31, false}, Shape{200, 5, 40, true}));

TEST(LinearMap, SameBitsForAnyThreadsAndAnySlicing) {
    const size_t rows = 333, in_dim = 45, out_dim = 27;
    const LinearMap map(in_dim, out_dim, normals(in_dim * out_dim, 7), normals(out_dim, 8));
    const std::vector<float> x = normals(rows * in_dim, 9);
    const MatrixView<const float> view(x.data(), rows, in_dim);
    std::vector<float> expected(rows * out_dim);
    map.apply(view, {expected.data(), rows, out_dim}, cpu_backend(), 1);
    for (const int threads : {2, 3, 0}) {
        std::vector<float> out(rows * out_dim);
        map.apply(view, {out.data(), rows, out_dim}, cpu_backend(), threads);
        EXPECT_EQ(out, expected) << threads << " threads";
    }
    std::vector<float> single(rows * out_dim);
    const MatrixView<float> rows_out(single.data(), rows, out_dim);
    for (size_t i = 0; i < rows; ++i) {
        map.apply(view.slice(i, 1), rows_out.slice(i, 1), cpu_backend(), 1);
    }
    EXPECT_EQ(single, expected);
}

TEST(LinearMap, NoRowsAreFine) {
    const LinearMap map(3, 2, std::vector<float>(6, 1.0f), {});
    EXPECT_NO_THROW(map.apply({nullptr, 0, 3}, {nullptr, 0, 2}, cpu_backend(), 1));
}

StatusCode code_of(const std::function<void()>& call) {
    try {
        call();
    } catch (const Error& error) {
        return error.code();
    }
    ADD_FAILURE() << "did not throw";
    return StatusCode::Io;
}

TEST(LinearMap, RefusesBadParts) {
    const std::vector<float> six(6, 1.0f);
    std::vector<float> infinite = six;
    infinite[4] = std::numeric_limits<float>::infinity();
    EXPECT_EQ(code_of([&] { LinearMap(4, 2, six, {}); }), StatusCode::InvalidArgument);
    EXPECT_EQ(code_of([&] { LinearMap(0, 0, {}, {}); }), StatusCode::InvalidArgument);
    EXPECT_EQ(code_of([&] { LinearMap(3, 2, six, {1.0f}); }), StatusCode::InvalidArgument);
    EXPECT_EQ(code_of([&] { LinearMap(3, 2, infinite, {}); }), StatusCode::NonFinite);
    // 2^63 rows of 2 values: the product of the dimensions overflows to 0.
    EXPECT_EQ(code_of([&] { LinearMap(2, size_t{1} << 63, {}, {}); }), StatusCode::InvalidArgument);
}

TEST(LinearMap, RefusesWrongShapes) {
    const LinearMap map(3, 2, std::vector<float>(6, 1.0f), {});
    std::vector<float> x(12), y(12);
    const auto apply = [&](size_t rows, size_t cols, size_t out_rows, size_t out_cols) {
        return code_of([&] {
            map.apply({x.data(), rows, cols}, {y.data(), out_rows, out_cols}, cpu_backend(), 1);
        });
    };
    EXPECT_EQ(apply(2, 2, 2, 2), StatusCode::InvalidArgument);
    EXPECT_EQ(apply(2, 3, 3, 2), StatusCode::InvalidArgument);
    EXPECT_EQ(apply(2, 3, 2, 3), StatusCode::InvalidArgument);
}

}  // namespace
}  // namespace nearcell
