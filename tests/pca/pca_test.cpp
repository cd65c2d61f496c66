#include <nearcell/pca/pca.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include <gtest/gtest.h>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>

namespace nearcell {
namespace {

double as_double(float value) { return static_cast<double>(value); }

struct Rows {
    size_t rows, dim;
    std::vector<float> values;
    MatrixView<const float> view() const { return {values.data(), rows, dim}; }
};

// Correlated rows of the given rank: `rank` normal factors, of falling strength, mixed at random.
Rows correlated(size_t rows, size_t dim, size_t rank, uint64_t seed, double offset = 0) {
    Random random(seed);
    std::vector<double> mixing(rank * dim), factors(rank);
    for (double& value : mixing)
        value = random.normal();
    Rows out{rows, dim, std::vector<float>(rows * dim)};
    for (size_t i = 0; i < rows; ++i) {
        for (size_t f = 0; f < rank; ++f) {
            factors[f] = random.normal() / (1.0 + static_cast<double>(f));
        }
        for (size_t j = 0; j < dim; ++j) {
            double value = offset + static_cast<double>(j % 3);
            for (size_t f = 0; f < rank; ++f)
                value += factors[f] * mixing[f * dim + j];
            out.values[i * dim + j] = static_cast<float>(value);
        }
    }
    return out;
}

PcaOptions take(size_t components, bool whiten = false) {
    PcaOptions options;
    options.components = components;
    options.whiten = whiten;
    return options;
}

Pca fit(const Rows& x, const PcaOptions& options, int threads = 2) {
    return Pca::fit(x.view(), options, cpu_backend(), threads);
}

Rows transform(const Pca& pca, const Rows& x) {
    Rows out{x.rows, pca.components(), std::vector<float>(x.rows * pca.components())};
    pca.transform(x.view(), {out.values.data(), out.rows, out.dim}, cpu_backend(), 2);
    return out;
}

// The sample covariance, in two passes in double.
std::vector<double> covariance(const Rows& x) {
    std::vector<double> mean(x.dim), out(x.dim * x.dim);
    for (size_t i = 0; i < x.rows; ++i) {
        for (size_t j = 0; j < x.dim; ++j)
            mean[j] += as_double(x.values[i * x.dim + j]);
    }
    for (double& value : mean)
        value /= static_cast<double>(x.rows);
    for (size_t i = 0; i < x.rows; ++i) {
        for (size_t a = 0; a < x.dim; ++a) {
            for (size_t b = 0; b < x.dim; ++b) {
                out[a * x.dim + b] += (as_double(x.values[i * x.dim + a]) - mean[a]) *
                                      (as_double(x.values[i * x.dim + b]) - mean[b]);
            }
        }
    }
    for (double& value : out)
        value /= static_cast<double>(x.rows - 1);
    return out;
}

void expect_orthonormal(const Pca& pca) {
    const size_t dim = pca.dim();
    for (size_t a = 0; a < pca.components(); ++a) {
        for (size_t b = a; b < pca.components(); ++b) {
            double dot = 0;
            for (size_t j = 0; j < dim; ++j) {
                dot += as_double(pca.matrix()[a * dim + j]) * as_double(pca.matrix()[b * dim + j]);
            }
            ASSERT_NEAR(dot, a == b ? 1.0 : 0.0, 1e-6) << a << ", " << b;
        }
    }
}

void expect_falling(const Pca& pca) {
    const std::vector<float>& variances = pca.variances();
    EXPECT_TRUE(std::is_sorted(variances.begin(), variances.end(), std::greater<>()));
    EXPECT_GE(variances.back(), 0.0f);
}

void expect_finite(const std::vector<float>& values) {
    for (const float value : values)
        ASSERT_TRUE(std::isfinite(value));
}

void expect_same_bits(const Pca& a, const Pca& b) {
    EXPECT_EQ(a.matrix(), b.matrix());
    EXPECT_EQ(a.mean(), b.mean());
    EXPECT_EQ(a.variances(), b.variances());
    EXPECT_EQ(a.total_variance(), b.total_variance());
}

// C v = variance v, for every component: the definition.
TEST(Pca, ComponentsAreEigenvectorsOfTheCovariance) {
    const Rows x = correlated(1500, 70, 70, 1);  // two tiles of columns, two blocks of rows
    const Pca pca = fit(x, take(70));
    const std::vector<double> c = covariance(x);
    for (size_t k = 0; k < 70; ++k) {
        const float* v = &pca.matrix()[k * 70];
        for (size_t i = 0; i < 70; ++i) {
            double sum = 0;
            for (size_t j = 0; j < 70; ++j)
                sum += c[i * 70 + j] * as_double(v[j]);
            ASSERT_NEAR(sum, as_double(pca.variances()[k]) * as_double(v[i]),
                        1e-5 * as_double(pca.variances()[0]));
        }
    }
    double trace = 0;
    for (size_t i = 0; i < 70; ++i)
        trace += c[i * 71];
    EXPECT_NEAR(pca.total_variance(), trace, 1e-9 * trace);
    expect_orthonormal(pca);
    expect_falling(pca);
}

TEST(Pca, RatiosOfAllComponentsSumToOne) {
    const Pca pca = fit(correlated(300, 20, 20, 2), take(20));
    double sum = 0;
    for (const float ratio : pca.explained_variance_ratio())
        sum += as_double(ratio);
    EXPECT_NEAR(sum, 1.0, 1e-5);
}

TEST(Pca, LargestEntryOfEachComponentIsPositive) {
    const Pca pca = fit(correlated(400, 23, 23, 3), take(23));
    for (size_t c = 0; c < 23; ++c) {
        size_t largest = 0;
        for (size_t j = 1; j < 23; ++j) {
            if (std::fabs(pca.matrix()[c * 23 + j]) > std::fabs(pca.matrix()[c * 23 + largest])) {
                largest = j;
            }
        }
        EXPECT_GT(pca.matrix()[c * 23 + largest], 0.0f) << "component " << c;
    }
}

TEST(Pca, InverseRestoresRowsInTheSpannedSpace) {
    for (const bool whiten : {false, true}) {
        const Rows x = correlated(200, 40, 6, 4);
        PcaOptions options = take(6, whiten);
        const Pca pca = fit(x, options);
        const Rows y = transform(pca, x);
        std::vector<float> back(x.values.size());
        pca.inverse(y.view(), {back.data(), x.rows, x.dim}, cpu_backend(), 2);
        for (size_t i = 0; i < back.size(); ++i)
            ASSERT_NEAR(back[i], x.values[i], 2e-4);
    }
}

TEST(Pca, TransformMatchesDoubleReference) {
    const Rows x = correlated(100, 30, 30, 5);
    const Pca pca = fit(x, take(9));
    const Rows y = transform(pca, x);
    for (size_t i = 0; i < x.rows; ++i) {
        for (size_t c = 0; c < 9; ++c) {
            double sum = 0;
            for (size_t j = 0; j < 30; ++j) {
                sum += as_double(pca.matrix()[c * 30 + j]) *
                       (as_double(x.values[i * 30 + j]) - as_double(pca.mean()[j]));
            }
            ASSERT_NEAR(as_double(y.values[i * 9 + c]), sum, 1e-4);
        }
    }
}

TEST(Pca, WhitenedCovarianceIsIdentity) {
    const Rows x = correlated(2000, 24, 24, 6);
    const std::vector<double> c = covariance(transform(fit(x, take(24, true)), x));
    for (size_t a = 0; a < 24; ++a) {
        for (size_t b = 0; b < 24; ++b) {
            ASSERT_NEAR(c[a * 24 + b], a == b ? 1.0 : 0.0, 1e-3) << a << ", " << b;
        }
    }
}

TEST(Pca, WhiteningIsFiniteOnRankDeficientRows) {
    const Rows deficient = correlated(500, 30, 5, 7);
    const Pca pca = fit(deficient, take(30, true));
    expect_orthonormal(pca);
    expect_falling(pca);
    const Rows y = transform(pca, deficient);
    expect_finite(y.values);
    const std::vector<double> c = covariance(y);
    for (size_t a = 0; a < 30; ++a) {
        if (a < 5) {
            EXPECT_NEAR(c[a * 31], 1.0, 1e-3);
        } else {
            EXPECT_LT(c[a * 31], 1e-3) << "rounding errors blown up in component " << a;
        }
    }
}

TEST(Pca, ConstantRowsTransformToZero) {
    const Rows x{50, 4, std::vector<float>(200, 3.25f)};
    for (const bool whiten : {false, true}) {
        const Pca pca = fit(x, take(4, whiten));
        for (const float variance : pca.variances())
            EXPECT_EQ(variance, 0.0f);
        for (const float ratio : pca.explained_variance_ratio())
            EXPECT_EQ(ratio, 0.0f);
        for (const float value : transform(pca, x).values)
            EXPECT_NEAR(value, 0.0f, 1e-5);
    }
}

TEST(Pca, MoreDimensionsThanRows) {
    const Rows x = correlated(20, 150, 150, 8);
    const Pca pca = fit(x, take(150, true));
    expect_orthonormal(pca);
    expect_falling(pca);
    for (size_t c = 19; c < 150; ++c)
        EXPECT_LT(pca.variances()[c], 1e-6f * pca.variances()[0]);
    expect_finite(transform(pca, x).values);
}

TEST(Pca, SameBitsForAnyNumberOfThreads) {
    const Rows x = correlated(2500, 140, 140, 9);
    const Pca expected = fit(x, take(30, true), 1);
    for (const int threads : {2, 3, 0})
        expect_same_bits(fit(x, take(30, true), threads), expected);
}

TEST(Pca, StreamingEqualsOneShot) {
    const Rows x = correlated(3000, 20, 20, 10);
    const Pca whole = fit(x, take(20));
    Pca::Fitter fitter(20);
    size_t first = 0;
    for (const size_t count : {size_t{1}, size_t{0}, size_t{699}, size_t{1300}, size_t{1000}}) {
        fitter.add(x.view().slice(first, count), cpu_backend(), 2);
        first += count;
    }
    ASSERT_EQ(first, x.rows);
    const Pca streamed = fitter.finish(take(20));
    for (size_t i = 0; i < 20; ++i) {
        EXPECT_NEAR(streamed.variances()[i], whole.variances()[i], 1e-6f * whole.variances()[0]);
        EXPECT_NEAR(streamed.mean()[i], whole.mean()[i], 1e-6f);
    }
    for (size_t i = 0; i < 400; ++i)
        ASSERT_NEAR(streamed.matrix()[i], whole.matrix()[i], 1e-6f);
}

// A large offset must cost no more than what float32 loses by storing it.
TEST(Pca, OffsetRows) {
    const Rows plain = correlated(2000, 16, 16, 11);
    Rows moved = plain;
    for (float& value : moved.values)
        value += 12345.0f;
    const Pca a = fit(plain, take(16)), b = fit(moved, take(16));
    for (size_t c = 0; c < 16; ++c) {
        // Rounding to a step of 2^-10 adds noise of variance 2^-20 / 12.
        EXPECT_NEAR(b.variances()[c], a.variances()[c], 1e-3f * a.variances()[c] + 2e-7f) << c;
        EXPECT_NEAR(b.mean()[c], a.mean()[c] + 12345.0f, 2e-3f);
    }
    const std::vector<double> c = covariance(moved);
    double trace = 0;
    for (size_t i = 0; i < 16; ++i)
        trace += c[i * 17];
    EXPECT_NEAR(b.total_variance(), trace, 1e-9 * trace);
    const Rows y = transform(a, plain), z = transform(b, moved);
    for (size_t i = 0; i < y.values.size(); ++i)
        ASSERT_NEAR(y.values[i], z.values[i], 0.05f);
}

TEST(Pca, ReadsOtherElementTypes) {
    Random random(12);
    std::vector<uint8_t> bytes(5000 * 6);
    for (uint8_t& value : bytes)
        value = static_cast<uint8_t>(random.below(256));
    Rows x{5000, 6, std::vector<float>(bytes.begin(), bytes.end())};
    const Vectors vectors(bytes.data(), ElementType::UInt8, 5000, 6);
    const Pca pca = Pca::fit(vectors, take(3), cpu_backend(), 2);
    expect_same_bits(pca, fit(x, take(3)));
    std::vector<float> out(5000 * 3);
    pca.transform(vectors, {out.data(), 5000, 3}, cpu_backend(), 2);
    EXPECT_EQ(out, transform(pca, x).values);
}

TEST(Pca, RestoredFromPartsTransformsToTheSameBits) {
    const Rows x = correlated(300, 12, 4, 13);
    const Pca pca = fit(x, take(7, true));
    const Pca restored = Pca::from_parts(12, pca.options(), pca.matrix(), pca.mean(),
                                         pca.variances(), pca.total_variance());
    expect_same_bits(restored, pca);
    EXPECT_EQ(transform(restored, x).values, transform(pca, x).values);
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

TEST(Pca, RefusesCorruptParts) {
    const Pca pca = fit(correlated(300, 12, 12, 14), take(7, true));
    struct Parts {
        size_t dim = 12;
        PcaOptions options;
        std::vector<float> matrix, mean, variances;
        double total;
    };
    const auto expect_corrupt = [&](const std::function<void(Parts&)>& change) {
        Parts parts{12,         pca.options(),   pca.matrix(),
                    pca.mean(), pca.variances(), pca.total_variance()};
        change(parts);
        EXPECT_EQ(code_of([&] {
                      Pca::from_parts(parts.dim, parts.options, parts.matrix, parts.mean,
                                      parts.variances, parts.total);
                  }),
                  StatusCode::Corrupt);
    };
    const float nan = std::numeric_limits<float>::quiet_NaN();
    expect_corrupt([](Parts& parts) { parts.dim = 0; });
    expect_corrupt([](Parts& parts) { parts.dim = 11; });
    expect_corrupt([](Parts& parts) { parts.dim = size_t{1} << 62; });
    expect_corrupt([](Parts& parts) { parts.options.components = 0; });
    expect_corrupt([](Parts& parts) { parts.options.components = 13; });
    expect_corrupt([](Parts& parts) { parts.options.epsilon = 0; });
    expect_corrupt([&](Parts& parts) { parts.options.epsilon = as_double(nan); });
    expect_corrupt([](Parts& parts) { parts.matrix.pop_back(); });
    expect_corrupt([](Parts& parts) { parts.mean.push_back(0); });
    expect_corrupt([](Parts& parts) { parts.variances.clear(); });
    expect_corrupt([&](Parts& parts) { parts.matrix[5] = nan; });
    expect_corrupt([&](Parts& parts) { parts.mean[5] = nan; });
    expect_corrupt([&](Parts& parts) { parts.variances[6] = nan; });
    expect_corrupt([](Parts& parts) { parts.variances[6] = -1; });
    expect_corrupt([](Parts& parts) { std::swap(parts.variances[0], parts.variances[6]); });
    expect_corrupt([](Parts& parts) { parts.matrix[5] += 1; });
    expect_corrupt([](Parts& parts) { parts.total /= 2; });
    expect_corrupt([&](Parts& parts) { parts.total = as_double(nan); });
}

TEST(Pca, RefusesBadOptionsAndRows) {
    Rows x = correlated(10, 5, 5, 15);
    EXPECT_EQ(code_of([&] { fit(x, take(0)); }), StatusCode::InvalidArgument);
    EXPECT_EQ(code_of([&] { fit(x, take(6)); }), StatusCode::InvalidArgument);
    PcaOptions no_floor = take(5, true);
    no_floor.epsilon = 0;
    EXPECT_EQ(code_of([&] { fit(x, no_floor); }), StatusCode::InvalidArgument);
    EXPECT_EQ(code_of([&] { Pca::fit(x.view().slice(0, 1), take(1), cpu_backend(), 1); }),
              StatusCode::InvalidArgument);
    EXPECT_EQ(code_of([] { Pca::Fitter(0); }), StatusCode::InvalidArgument);
    const Pca pca = fit(x, take(2));
    std::vector<float> out(20);
    EXPECT_EQ(code_of([&] {
                  pca.inverse(x.view(), {out.data(), 10, 5}, cpu_backend(), 1);
              }),
              StatusCode::InvalidArgument);
    EXPECT_EQ(code_of([&] {
                  pca.transform(x.view(), {out.data(), 9, 2}, cpu_backend(), 1);
              }),
              StatusCode::InvalidArgument);
    x.values[17] = std::numeric_limits<float>::infinity();
    EXPECT_EQ(code_of([&] { fit(x, take(2)); }), StatusCode::NonFinite);
    EXPECT_EQ(code_of([&] { transform(pca, x); }), StatusCode::NonFinite);
}

TEST(Pca, RefusedRowsLeaveTheFitterUnchanged) {
    Rows x = correlated(100, 5, 5, 16);
    Pca::Fitter fitter(5);
    fitter.add(x.view(), cpu_backend(), 1);
    Rows bad = x;
    bad.values[499] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(code_of([&] { fitter.add(bad.view(), cpu_backend(), 1); }), StatusCode::NonFinite);
    EXPECT_EQ(code_of([&] {
                  fitter.add(MatrixView<const float>(x.values.data(), 20, 4), cpu_backend(), 1);
              }),
              StatusCode::InvalidArgument);
    expect_same_bits(fitter.finish(take(5)), fit(x, take(5)));
}

TEST(Pca, CancelledRowsLeaveTheFitterUnchanged) {
    const Rows x = correlated(5000, 5, 5, 16);
    Pca::Fitter fitter(5);
    std::vector<double> told;
    const Progress stop = [&](std::string_view, double done, double total) {
        EXPECT_EQ(total, 5000);
        told.push_back(done);
        return done < 3000;
    };
    for (int time = 0; time < 2; ++time) {  // the first rows of all, and further ones
        EXPECT_EQ(code_of([&] { fitter.add(x.view(), cpu_backend(), 2, stop); }),
                  StatusCode::Cancelled);
        EXPECT_EQ(told, (std::vector<double>{0, 0, 1024, 2048, 3072}));
        told.clear();
        if (time == 0) fitter.add(x.view(), cpu_backend(), 2);
    }
    expect_same_bits(fitter.finish(take(5)), fit(x, take(5)));
}

// Values near the ends of float32: either a clear error or finite results.
TEST(Pca, ExtremeScales) {
    for (const float scale : {1e-25f, 1e12f}) {
        Rows x = correlated(200, 6, 6, 17);
        for (float& value : x.values)
            value *= scale;
        const Pca pca = fit(x, take(6, true));
        expect_orthonormal(pca);
        expect_finite(transform(pca, x).values);
    }
    Rows huge = correlated(200, 6, 6, 17);
    for (float& value : huge.values)
        value *= 1e25f;
    EXPECT_EQ(code_of([&] { fit(huge, take(6)); }), StatusCode::InvalidArgument);
}

}  // namespace
}  // namespace nearcell
