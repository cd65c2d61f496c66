#include <nearcell/quantize/opq.h>

#include <cmath>
#include <functional>
#include <limits>

#include <gtest/gtest.h>

#include <nearcell/core/error.h>
#include <nearcell/kernels/linear_map.h>
#include <nearcell/quantize/kmeans.h>
#include <nearcell/quantize/rotation.h>
#include <quantize/orthonormal.h>
#include <quantize/sample_data.h>

namespace nearcell {
namespace {

constexpr size_t kDim = 22;
constexpr size_t kSubquantizers = 4;  // does not divide kDim: subspaces of 6, 6, 5 and 5

// Variance that falls quickly, mixed over the leading half of the dimensions.
Matrix skewed_rows(size_t rows, size_t dim, uint64_t seed) {
    Matrix x = gaussian_rows(rows, dim, seed);
    for (size_t i = 0; i < rows; ++i) {
        for (size_t j = 0; j < dim; ++j) {
            x.row(i)[j] *= 10.0f / (1.0f + static_cast<float>(j * j));
        }
    }
    // The leading half, mixed among itself, keeps most of the variance.
    Matrix out(rows, dim);
    std::vector<float> mixing(dim * dim);
    const size_t half = dim / 2;
    const std::vector<float> rotation = random_rotation(half, half, 99);
    for (size_t j = 0; j < dim; ++j)
        mixing[j * dim + j] = j < half ? 0.0f : 1.0f;
    for (size_t i = 0; i < half; ++i) {
        for (size_t j = 0; j < half; ++j)
            mixing[i * dim + j] = rotation[i * half + j];
    }
    LinearMap(dim, dim, mixing, {}).apply(x.view(), out.view(), cpu_backend(), 1);
    return out;
}

OpqOptions options_for(size_t subquantizers, size_t bits = 4) {
    OpqOptions options;
    options.subquantizers = subquantizers;
    options.bits = bits;
    options.iterations = 12;
    options.threads = 2;
    return options;
}

// The squared error of product codes of x under a rotation: a plain product quantizer, trained and
// measured on the rotated rows; what the rotation drops counts as error.
double product_error(const Matrix& x, const std::vector<float>& rotation,
                     const OpqOptions& options) {
    const size_t out_dim = rotation.size() / x.cols;
    Matrix z(x.rows, out_dim);
    LinearMap(x.cols, out_dim, rotation, {}).apply(x.view(), z.view(), cpu_backend(), 2);
    double error = 0;
    for (const float value : x.values)
        error += static_cast<double>(value * value);
    for (const float value : z.values)
        error -= static_cast<double>(value * value);
    std::vector<uint32_t> labels(x.rows);
    std::vector<float> keys(x.rows);
    size_t begin = 0;
    for (size_t m = 0; m < options.subquantizers; ++m) {
        const size_t width =
            out_dim / options.subquantizers + (m < out_dim % options.subquantizers ? 1 : 0);
        const MatrixView<const float> part(z.values.data() + begin, x.rows, width, out_dim);
        KMeansOptions kmeans;
        kmeans.clusters = size_t{1} << options.bits;
        kmeans.max_points_per_cluster = 0;
        const KMeansResult result = train_kmeans(part, kmeans, cpu_backend());
        cpu_backend().assign(part, result.view(), Metric::L2, labels.data(), keys.data(), 2);
        for (const float key : keys)
            error += static_cast<double>(key);
        begin += width;
    }
    return error;
}

std::vector<float> identity(size_t dim) {
    std::vector<float> matrix(dim * dim);
    for (size_t i = 0; i < dim; ++i)
        matrix[i * dim + i] = 1.0f;
    return matrix;
}

std::vector<float> train(const Matrix& x, const OpqOptions& options) {
    return train_opq(x.view(), options, cpu_backend());
}

TEST(Opq, HalvesTheErrorOfProductCodesOnSkewedRows) {
    const Matrix x = skewed_rows(3000, kDim, 1);
    const OpqOptions options = options_for(kSubquantizers);
    const double learned = product_error(x, train(x, options), options);
    EXPECT_LT(learned, 0.5 * product_error(x, identity(kDim), options));
    EXPECT_LT(learned, 0.5 * product_error(x, random_rotation(kDim, kDim, 2), options));
}

// Clouds are not Gaussian, so the principal components are not yet the answer.
TEST(Opq, AlternationsLowerTheError) {
    const Matrix x = cloudy_rows(2000, 16, 12, 3);
    OpqOptions options = options_for(4);
    options.iterations = 0;
    const double start = product_error(x, train(x, options), options);
    options.iterations = 30;
    EXPECT_LT(product_error(x, train(x, options), options), 0.97 * start);
}

TEST(Opq, IsOrthonormal) {
    const Matrix x = skewed_rows(600, kDim, 4);
    for (const size_t out_dim : {size_t{0}, size_t{9}, kDim, size_t{40}}) {
        OpqOptions options = options_for(kSubquantizers);
        options.iterations = 3;
        options.out_dim = out_dim;
        const size_t expected = out_dim == 0 ? kDim : out_dim;
        EXPECT_LT(orthonormal_error(train(x, options), kDim, expected), 1e-5) << out_dim;
    }
}

TEST(Opq, FewerDimensionsKeepTheVariance) {
    const Matrix x = skewed_rows(2000, kDim, 5);
    OpqOptions options = options_for(3);
    options.out_dim = 8;
    const std::vector<float> rotation = train(x, options);
    EXPECT_LT(product_error(x, rotation, options),
              0.5 * product_error(x, random_rotation(kDim, 8, 6), options));
}

TEST(Opq, SameBitsForAnyNumberOfThreads) {
    const Matrix x = skewed_rows(1000, 70, 7);
    OpqOptions options = options_for(5);
    options.iterations = 3;
    options.threads = 1;
    const std::vector<float> expected = train(x, options);
    for (const int threads : {2, 3, 0}) {
        options.threads = threads;
        EXPECT_EQ(train(x, options), expected) << threads << " threads";
    }
}

TEST(Opq, SamplesManyRowsBySeed) {
    const Matrix x = skewed_rows(4000, kDim, 8);
    OpqOptions options = options_for(kSubquantizers);
    options.iterations = 2;
    options.max_points = 500;
    const std::vector<float> rotation = train(x, options);
    EXPECT_EQ(train(x, options), rotation);
    EXPECT_LT(product_error(x, rotation, options), product_error(x, identity(kDim), options));
    options.seed = 2;
    EXPECT_NE(train(x, options), rotation);
}

TEST(Opq, AnOffsetDoesNotMatter) {
    const Matrix x = skewed_rows(1500, kDim, 9);
    Matrix moved = x;
    for (float& value : moved.values)
        value += 1000.0f;
    const OpqOptions options = options_for(kSubquantizers);
    const double plain = product_error(x, train(x, options), options);
    EXPECT_NEAR(product_error(x, train(moved, options), options), plain, 0.05 * plain);
}

TEST(Opq, DegenerateRowsStillGiveARotation) {
    Matrix constant(64, 6);
    for (float& value : constant.values)
        value = 2.5f;
    Matrix line(64, 6);
    for (size_t i = 0; i < 64; ++i)
        line.row(i)[2] = static_cast<float>(i);
    for (const Matrix* x : {&constant, &line}) {
        EXPECT_LT(orthonormal_error(train(*x, options_for(3)), 6, 6), 1e-5);
    }
}

// Few codes of many dimensions: most singular values are 0, and divide and conquer may fail there.
TEST(Opq, CodesOfFewDimensionsStillGiveARotation) {
    struct Shape {
        size_t rows, dim, out_dim, subquantizers, bits;
    };
    for (const Shape& shape : {Shape{32, 52, 52, 4, 3}, Shape{64, 56, 56, 2, 4},
                               Shape{32, 60, 52, 4, 3}, Shape{32, 52, 60, 4, 3}}) {
        for (uint64_t seed = 1; seed <= 22; ++seed) {
            const Matrix x = gaussian_rows(shape.rows, shape.dim, seed);
            OpqOptions options = options_for(shape.subquantizers, shape.bits);
            options.out_dim = shape.out_dim;
            options.threads = 1;
            const std::vector<float> rotation = train(x, options);
            ASSERT_LT(orthonormal_error(rotation, shape.dim, shape.out_dim), 1e-5)
                << shape.dim << " to " << shape.out_dim << ", seed " << seed;
            EXPECT_LT(product_error(x, rotation, options),
                      product_error(x, random_rotation(shape.dim, shape.out_dim, seed), options));
        }
    }
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

TEST(Opq, RefusesBadOptionsAndRows) {
    Matrix x = gaussian_rows(100, 6, 10);
    const auto expect_refused = [&](const std::function<void(OpqOptions&)>& change) {
        OpqOptions options = options_for(3);
        change(options);
        EXPECT_EQ(code_of([&] { train(x, options); }), StatusCode::InvalidArgument);
    };
    expect_refused([](OpqOptions& options) { options.subquantizers = 0; });
    expect_refused([](OpqOptions& options) { options.subquantizers = 7; });
    expect_refused([](OpqOptions& options) { options.out_dim = 2; });
    expect_refused([](OpqOptions& options) { options.bits = 0; });
    expect_refused([](OpqOptions& options) { options.bits = 9; });
    expect_refused([](OpqOptions& options) { options.bits = 8; });  // 100 rows, 256 codes
    expect_refused([](OpqOptions& options) { options.max_points = 15; });
    expect_refused([](OpqOptions& options) { options.codebook_iterations = 0; });
    x.values[7] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(code_of([&] { train(x, options_for(3)); }), StatusCode::NonFinite);
}

TEST(Opq, CanBeCancelled) {
    const Matrix x = cloudy_rows(200, 6, 4, 11);
    OpqOptions options = options_for(3);
    size_t calls = 0, allowed = 0;
    double last = 0;
    options.progress = [&](std::string_view, double done, double total) {
        EXPECT_LE(last, done);
        EXPECT_LE(done, total);
        last = done;
        return calls++ < allowed;
    };
    EXPECT_EQ(code_of([&] { train(x, options); }), StatusCode::Cancelled);
    EXPECT_EQ(last, 0);
    allowed = 5;  // within the codebooks of one subspace
    calls = 0, last = 0;
    EXPECT_EQ(code_of([&] { train(x, options); }), StatusCode::Cancelled);
    EXPECT_LT(last, 1.0 / 3);
    EXPECT_EQ(calls, 6u);
}

}  // namespace
}  // namespace nearcell
