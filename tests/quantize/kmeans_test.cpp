#include <nearcell/quantize/kmeans.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <string>

#include <nearcell/core/error.h>
#include <nearcell/core/half.h>
#include <nearcell/quantize/kmeans_methods.h>

#include "sample_data.h"

namespace nearcell {
namespace {

KMeansOptions with_clusters(size_t clusters) {
    KMeansOptions options;
    options.clusters = clusters;
    return options;
}

KMeansResult train(const Matrix& x, const KMeansOptions& options) {
    return train_kmeans(x.view(), options, cpu_backend());
}

StatusCode code_of(const Matrix& x, const KMeansOptions& options, std::string* message = nullptr) {
    try {
        train(x, options);
    } catch (const Error& error) {
        if (message != nullptr) *message = error.what();
        return error.code();
    }
    ADD_FAILURE() << "nothing was thrown";
    return StatusCode::Io;
}

// The cost of centroids by plain double arithmetic: squared distances, or similarities.
double cost(const Matrix& x, const KMeansResult& result, bool spherical,
            const std::vector<float>& weights = {}) {
    double sum = 0;
    for (size_t i = 0; i < x.rows; ++i) {
        double best = std::numeric_limits<double>::infinity();
        for (size_t c = 0; c < result.clusters; ++c) {
            double key = 0;
            for (size_t j = 0; j < x.cols; ++j) {
                const double a = static_cast<double>(x.row(i)[j]);
                const double b = static_cast<double>(result.centroids[c * x.cols + j]);
                key += spherical ? -a * b : (a - b) * (a - b);
            }
            best = std::min(best, key);
        }
        sum += best * (weights.empty() ? 1.0 : static_cast<double>(weights[i]));
    }
    return spherical ? -sum : sum;
}

bool all_finite(const std::vector<float>& values) {
    return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

TEST(KMeans, ObjectiveNeverRisesAndFallsStrictlyAtFirst) {
    const Matrix x = gaussian_rows(3000, 20, 1);
    for (Seeding seeding : {Seeding::Random, Seeding::PlusPlus}) {
        KMeansOptions options = with_clusters(40);
        options.seeding = seeding;
        const KMeansResult result = train(x, options);
        ASSERT_GE(result.objective.size(), 10u);
        for (size_t i = 1; i < result.objective.size(); ++i) {
            EXPECT_LE(result.objective[i], result.objective[i - 1] * (1 + 1e-6)) << i;
            if (i < 10) {
                EXPECT_LT(result.objective[i], result.objective[i - 1]) << i;
            }
        }
        EXPECT_LE(cost(x, result, false), result.objective.back() * (1 + 1e-6));
    }
}

TEST(KMeans, MoreClustersCostLess) {
    const Matrix x = gaussian_rows(2000, 16, 2);
    EXPECT_LT(train(x, with_clusters(64)).objective.back(),
              train(x, with_clusters(32)).objective.back());
}

TEST(KMeans, CentroidsAreTheMeansOfTheirPoints) {
    const Matrix x = cloudy_rows(600, 7, 6, 3);
    KMeansOptions options = with_clusters(6);
    options.seeding = Seeding::PlusPlus;
    options.iterations = 100;  // until no label changes
    const KMeansResult result = train(x, options);
    ASSERT_LT(result.objective.size(), 100u);
    std::vector<uint32_t> labels(x.rows);
    cpu_backend().assign(x.view(), result.view(), Metric::L2, labels.data(), nullptr, 1);
    for (size_t c = 0; c < 6; ++c) {
        std::vector<double> sum(7, 0.0);
        double count = 0;
        for (size_t i = 0; i < x.rows; ++i) {
            if (labels[i] != c) continue;
            for (size_t j = 0; j < 7; ++j)
                sum[j] += static_cast<double>(x.row(i)[j]);
            count += 1;
        }
        ASSERT_GT(count, 0);
        for (size_t j = 0; j < 7; ++j) {
            EXPECT_EQ(result.centroids[c * 7 + j], static_cast<float>(sum[j] / count));
        }
    }
}

TEST(KMeans, PlusPlusFindsEveryCloud) {
    const Matrix x = cloudy_rows(2000, 24, 30, 4);
    KMeansOptions options = with_clusters(75);
    options.seeding = Seeding::PlusPlus;
    // The clouds' own spread is 0.09 a dimension; one cloud missed would add about 3000.
    EXPECT_LT(train(x, options).objective.back(), 2000 * 24 * 0.09);
}

TEST(KMeans, PlusPlusStartsNearerThanRandom) {
    const Matrix x = cloudy_rows(4000, 16, 50, 5);
    double plus_plus = 0, random = 0;
    for (uint64_t seed = 0; seed < 5; ++seed) {
        KMeansOptions options = with_clusters(50);
        options.iterations = 1;
        options.seed = seed;
        random += train(x, options).objective[0];
        options.seeding = Seeding::PlusPlus;
        plus_plus += train(x, options).objective[0];
    }
    EXPECT_LT(plus_plus, 0.7 * random);
}

TEST(KMeans, SameBitsForAnyNumberOfThreads) {
    const Matrix x = cloudy_rows(2500, 19, 40, 6);
    std::vector<float> weights(x.rows);
    for (size_t i = 0; i < x.rows; ++i)
        weights[i] = 0.5f + static_cast<float>(i % 7);
    for (KMeansMethod method :
         {KMeansMethod::Lloyd, KMeansMethod::Hierarchical, KMeansMethod::MiniBatch}) {
        for (Metric metric : {Metric::L2, Metric::InnerProduct, Metric::Cosine}) {
            for (Seeding seeding : {Seeding::Random, Seeding::PlusPlus}) {
                KMeansOptions options = with_clusters(50);
                options.method = method;
                options.metric = metric;
                options.seeding = seeding;
                options.iterations = 6;
                options.weights = weights;
                options.threads = 1;
                const KMeansResult one = train(x, options);
                EXPECT_TRUE(all_finite(one.centroids));
                EXPECT_EQ(one.centroids.size(), 50u * 19u);
                for (int threads : {2, 3}) {
                    options.threads = threads;
                    const KMeansResult other = train(x, options);
                    EXPECT_EQ(one.centroids, other.centroids);
                    EXPECT_EQ(one.objective, other.objective);
                    EXPECT_EQ(one.empty_splits, other.empty_splits);
                }
            }
        }
    }
}

TEST(KMeans, SeedsDiffer) {
    const Matrix x = gaussian_rows(500, 8, 7);
    KMeansOptions options = with_clusters(10);
    const KMeansResult first = train(x, options);
    EXPECT_EQ(first.centroids, train(x, options).centroids);
    options.seed = 99;
    EXPECT_NE(first.centroids, train(x, options).centroids);
}

TEST(KMeans, RedoKeepsTheBest) {
    const Matrix x = cloudy_rows(1000, 8, 40, 8);
    KMeansOptions options = with_clusters(40);
    const double once = train(x, options).objective.back();
    options.redo = 10;
    EXPECT_LT(train(x, options).objective.back(), once);
}

TEST(KMeans, WarmStartBeginsBetter) {
    const Matrix x = gaussian_rows(2000, 12, 9);
    KMeansOptions options = with_clusters(30);
    options.iterations = 5;
    const KMeansResult cold = train(x, options);
    options.initial = cold.view();
    const KMeansResult warm = train(x, options);
    EXPECT_LT(warm.objective[0], 0.99 * cold.objective[0]);
    EXPECT_LE(warm.objective[0], cold.objective.back() * (1 + 1e-6));
}

TEST(KMeans, StopsWhenNoLabelChanges) {
    const Matrix x = cloudy_rows(300, 5, 4, 10);
    KMeansOptions options = with_clusters(4);
    options.iterations = 50;
    const KMeansResult stopped = train(x, options);
    ASSERT_LT(stopped.objective.size(), 50u);
    options.initial = stopped.view();
    EXPECT_EQ(train(x, options).centroids, stopped.centroids);
}

TEST(KMeans, AsManyRowsAsClustersAreCopied) {
    const Matrix x = gaussian_rows(20, 6, 11);
    for (KMeansMethod method : {KMeansMethod::Auto, KMeansMethod::Lloyd, KMeansMethod::Hierarchical,
                                KMeansMethod::MiniBatch}) {
        KMeansOptions options = with_clusters(20);
        options.method = method;
        const KMeansResult result = train(x, options);
        EXPECT_EQ(result.centroids, x.values);
        EXPECT_EQ(result.objective.back(), 0.0);
    }
}

TEST(KMeans, DuplicatesGiveNoNaN) {
    Matrix x = gaussian_rows(200, 9, 12);
    for (size_t i = 5; i < x.rows; ++i)
        std::copy_n(x.row(i % 5), 9, x.row(i));
    for (Metric metric : {Metric::L2, Metric::InnerProduct, Metric::Cosine}) {
        for (Seeding seeding : {Seeding::Random, Seeding::PlusPlus}) {
            KMeansOptions options = with_clusters(10);
            options.metric = metric;
            options.seeding = seeding;
            const KMeansResult result = train(x, options);
            EXPECT_TRUE(all_finite(result.centroids));
            EXPECT_GT(result.empty_splits, 0u);
            if (metric == Metric::L2) {
                EXPECT_EQ(result.objective.back(), 0.0);
            }
        }
    }
}

TEST(KMeans, EmptyClustersAreRefilled) {
    // A warm start far away from all points leaves all clusters but one empty.
    const Matrix x = gaussian_rows(1000, 4, 13);
    Matrix far(16, 4);
    for (size_t c = 0; c < 16; ++c)
        far.row(c)[0] = 100.0f + static_cast<float>(c);
    KMeansOptions options = with_clusters(16);
    options.initial = far.view();
    options.iterations = 20;
    const KMeansResult result = train(x, options);
    EXPECT_GE(result.empty_splits, 15u);
    std::vector<uint32_t> labels(x.rows);
    cpu_backend().assign(x.view(), result.view(), Metric::L2, labels.data(), nullptr, 1);
    EXPECT_EQ(std::set<uint32_t>(labels.begin(), labels.end()).size(), 16u);
    for (size_t i = 1; i < result.objective.size(); ++i) {
        EXPECT_LE(result.objective[i], result.objective[i - 1] * (1 + 1e-6));
    }
}

TEST(KMeans, SphericalCentroidsHaveLengthOne) {
    const Matrix x = cloudy_rows(1500, 10, 12, 14);
    for (Metric metric : {Metric::InnerProduct, Metric::Cosine}) {
        for (KMeansMethod method :
             {KMeansMethod::Lloyd, KMeansMethod::Hierarchical, KMeansMethod::MiniBatch}) {
            KMeansOptions options = with_clusters(25);
            options.metric = metric;
            options.method = method;
            const KMeansResult result = train(x, options);
            for (size_t c = 0; c < 25; ++c) {
                const float* centroid = result.centroids.data() + c * 10;
                EXPECT_NEAR(std::inner_product(centroid, centroid + 10, centroid, 0.0f), 1.0f,
                            1e-5f);
            }
            EXPECT_GT(result.objective.back(), 0.0);
        }
    }
}

TEST(KMeans, SphericalObjectiveRises) {
    const Matrix x = gaussian_rows(1000, 10, 15);
    KMeansOptions options = with_clusters(20);
    options.metric = Metric::InnerProduct;
    const KMeansResult result = train(x, options);
    for (size_t i = 1; i < result.objective.size(); ++i) {
        EXPECT_GE(result.objective[i], result.objective[i - 1] * (1 - 1e-6));
    }
    EXPECT_GE(cost(x, result, true), result.objective.back() * (1 - 1e-6));
}

TEST(KMeans, CosineIgnoresLengths) {
    const Matrix x = gaussian_rows(800, 9, 16);
    Matrix unit = x, scaled = x;
    for (size_t i = 0; i < x.rows; ++i) {
        const float length = std::sqrt(std::inner_product(x.row(i), x.row(i) + 9, x.row(i), 0.0f));
        for (size_t j = 0; j < 9; ++j) {
            unit.row(i)[j] /= length;
            scaled.row(i)[j] *= static_cast<float>(1 + i % 5);
        }
    }
    KMeansOptions options = with_clusters(12);
    options.metric = Metric::InnerProduct;
    const KMeansResult by_hand = train(unit, options);
    options.metric = Metric::Cosine;
    const KMeansResult cosine = train(scaled, options);
    EXPECT_NEAR(cosine.objective.back() / by_hand.objective.back(), 1.0, 1e-3);
    EXPECT_LE(cosine.objective.back(), 800.0);
}

TEST(KMeans, ZeroVectorsAreHarmlessForCosine) {
    Matrix x = gaussian_rows(300, 6, 17);
    for (size_t i = 0; i < 290; ++i)
        std::fill_n(x.row(i), 6, 0.0f);
    for (Seeding seeding : {Seeding::Random, Seeding::PlusPlus}) {
        KMeansOptions options = with_clusters(20);
        options.metric = Metric::Cosine;
        options.seeding = seeding;
        const KMeansResult result = train(x, options);
        EXPECT_TRUE(all_finite(result.centroids));
    }
}

TEST(KMeans, AWeightIsThatManyCopies) {
    const Matrix x = gaussian_rows(400, 5, 18);
    Matrix twice(600, 5);
    std::vector<float> weights(400, 1.0f);
    std::copy(x.values.begin(), x.values.end(), twice.values.begin());
    for (size_t i = 0; i < 200; ++i) {  // the first half counts twice
        weights[i] = 2.0f;
        std::copy_n(x.row(i), 5, twice.row(400 + i));
    }
    const Matrix start = gaussian_rows(8, 5, 19);
    KMeansOptions options = with_clusters(8);
    options.initial = start.view();
    options.iterations = 6;
    const KMeansResult copies = train(twice, options);
    options.weights = weights;
    const KMeansResult weighted = train(x, options);
    for (size_t i = 0; i < copies.centroids.size(); ++i) {
        EXPECT_NEAR(copies.centroids[i], weighted.centroids[i], 1e-5f);
    }
    EXPECT_NEAR(copies.objective.back() / weighted.objective.back(), 1.0, 1e-6);
}

TEST(KMeans, WeightsPullCentroids) {
    const Matrix x = gaussian_rows(1000, 4, 20);
    std::vector<float> weights(1000, 1.0f);
    std::fill_n(weights.begin(), 100, 10.0f);
    KMeansOptions options = with_clusters(10);
    const KMeansResult plain = train(x, options);
    options.weights = weights;
    const KMeansResult pulled = train(x, options);
    EXPECT_LT(cost(x, pulled, false, weights), cost(x, plain, false, weights));
}

TEST(KMeans, SamplingIsReported) {
    const Matrix x = gaussian_rows(5000, 6, 21);
    KMeansOptions options = with_clusters(10);
    options.max_points_per_cluster = 50;
    const KMeansResult sampled = train(x, options);
    EXPECT_EQ(sampled.points_given, 5000u);
    EXPECT_EQ(sampled.points_used, 500u);
    options.max_points_per_cluster = 0;
    EXPECT_EQ(train(x, options).points_used, 5000u);
    options.max_points_per_cluster = std::numeric_limits<size_t>::max();
    EXPECT_EQ(train(x, options).points_used, 5000u);
}

TEST(KMeans, ElementTypesAgree) {
    Matrix x(400, 7);
    std::vector<int8_t> bytes(x.values.size());
    std::vector<uint16_t> halves(x.values.size());
    Random random(22);
    for (size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<int8_t>(static_cast<int>(random.below(256)) - 128);
        x.values[i] = static_cast<float>(bytes[i]);
        halves[i] = float16_from_float(x.values[i]);
    }
    KMeansOptions options = with_clusters(9);
    const KMeansResult floats = train(x, options);
    const Vectors as_bytes(bytes.data(), ElementType::Int8, 400, 7);
    const Vectors as_halves(halves.data(), ElementType::Float16, 400, 7);
    EXPECT_EQ(train_kmeans(as_bytes, options, cpu_backend()).centroids, floats.centroids);
    EXPECT_EQ(train_kmeans(as_halves, options, cpu_backend()).centroids, floats.centroids);
}

TEST(KMeans, StridedRowsAreReadInPlace) {
    const Matrix x = gaussian_rows(300, 8, 23);
    Matrix wide = gaussian_rows(300, 13, 24);
    for (size_t i = 0; i < 300; ++i)
        std::copy_n(x.row(i), 8, wide.row(i));
    const KMeansOptions options = with_clusters(7);
    const MatrixView<const float> view(wide.values.data(), 300, 8, 13);
    EXPECT_EQ(train_kmeans(view, options, cpu_backend()).centroids, train(x, options).centroids);
}

TEST(KMeans, OddShapes) {
    for (size_t dim = 1; dim <= 67; dim += 3) {
        const Matrix x = gaussian_rows(150, dim, dim);
        const KMeansResult result = train(x, with_clusters(1 + dim % 19));
        EXPECT_TRUE(all_finite(result.centroids));
        EXPECT_LE(cost(x, result, false), result.objective[0] * (1 + 1e-6));
    }
}

TEST(KMeans, ALargeOffsetDoesNotBlur) {
    Matrix x = cloudy_rows(1000, 16, 10, 25);
    KMeansOptions options = with_clusters(10);
    options.seeding = Seeding::PlusPlus;
    const double plain = train(x, options).objective.back();
    for (float& value : x.values)
        value += 3000.0f;
    EXPECT_NEAR(train(x, options).objective.back() / plain, 1.0, 0.01);
}

TEST(KMeans, HierarchicalIsNearlyAsGood) {
    const Matrix x = cloudy_rows(6000, 12, 80, 26);
    KMeansOptions options = with_clusters(200);
    options.method = KMeansMethod::Lloyd;
    const double lloyd = cost(x, train(x, options), false);
    options.method = KMeansMethod::Hierarchical;
    const KMeansResult result = train(x, options);
    EXPECT_LT(cost(x, result, false), 1.1 * lloyd);
    EXPECT_EQ(result.objective.size(), 2u);
}

TEST(KMeans, MiniBatchIsNearlyAsGood) {
    const Matrix x = cloudy_rows(20000, 8, 40, 27);
    KMeansOptions options = with_clusters(40);
    options.seeding = Seeding::PlusPlus;
    const double lloyd = cost(x, train(x, options), false);
    options.method = KMeansMethod::MiniBatch;
    const KMeansResult result = train(x, options);
    EXPECT_LT(cost(x, result, false), 1.15 * lloyd);
    EXPECT_EQ(result.points_used, 20000u);
    options.iterations = 2;
    EXPECT_EQ(train(x, options).points_used, 8192u);
}

TEST(KMeans, SharesAddUpAndFit) {
    const std::vector<size_t> rows = {100, 0, 3, 50, 1, 400};
    const std::vector<size_t> shares = share_clusters(rows, 60);
    EXPECT_EQ(std::accumulate(shares.begin(), shares.end(), size_t{0}), 60u);
    for (size_t g = 0; g < rows.size(); ++g) {
        EXPECT_LE(shares[g], rows[g]);
        EXPECT_EQ(shares[g] == 0, rows[g] == 0);
    }
    EXPECT_GT(shares[5], 3 * shares[0]);
    EXPECT_EQ(share_clusters(rows, 554), rows);
}

TEST(KMeans, FewerRowsThanClustersIsAnError) {
    std::string message;
    EXPECT_EQ(code_of(gaussian_rows(9, 3, 28), with_clusters(10), &message),
              StatusCode::InvalidArgument);
    EXPECT_NE(message.find("9 rows"), std::string::npos) << message;
    EXPECT_NE(message.find("10"), std::string::npos) << message;
}

TEST(KMeans, BadInputIsRefused) {
    Matrix x = gaussian_rows(50, 3, 29);
    EXPECT_EQ(code_of(x, with_clusters(0)), StatusCode::InvalidArgument);
    KMeansOptions options = with_clusters(5);
    options.metric = Metric::L1;
    EXPECT_EQ(code_of(x, options), StatusCode::Unsupported);
    options = with_clusters(5);
    options.redo = 0;
    EXPECT_EQ(code_of(x, options), StatusCode::InvalidArgument);
    options = with_clusters(5);
    std::vector<float> weights(49, 1.0f);
    options.weights = weights;
    EXPECT_EQ(code_of(x, options), StatusCode::InvalidArgument);
    weights.assign(50, 0.0f);
    options.weights = weights;
    EXPECT_EQ(code_of(x, options), StatusCode::InvalidArgument);
    weights[3] = -1.0f;
    EXPECT_EQ(code_of(x, options), StatusCode::InvalidArgument);
    weights[3] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(code_of(x, options), StatusCode::NonFinite);
    options = with_clusters(5);
    const Matrix initial = gaussian_rows(4, 3, 30);
    options.initial = initial.view();
    EXPECT_EQ(code_of(x, options), StatusCode::InvalidArgument);
    x.row(20)[1] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(code_of(x, with_clusters(5)), StatusCode::NonFinite);
    x.row(20)[1] = std::numeric_limits<float>::infinity();
    EXPECT_EQ(code_of(x, with_clusters(5)), StatusCode::NonFinite);
}

TEST(KMeans, ProgressIsToldAndCanCancel) {
    const Matrix x = gaussian_rows(1000, 6, 31);
    for (KMeansMethod method :
         {KMeansMethod::Lloyd, KMeansMethod::Hierarchical, KMeansMethod::MiniBatch}) {
        KMeansOptions options = with_clusters(30);
        options.method = method;
        int calls = 0;
        options.progress = [&](std::string_view, double done, double total) {
            EXPECT_LE(done, total);
            ++calls;
            return true;
        };
        train(x, options);
        EXPECT_GT(calls, 5);
        const int all = calls;
        options.progress = [&](std::string_view, double, double) { return --calls > all - 3; };
        EXPECT_EQ(code_of(x, options), StatusCode::Cancelled);
    }
}

}  // namespace
}  // namespace nearcell
