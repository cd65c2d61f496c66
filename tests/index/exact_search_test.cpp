// Exact search against sorting double-precision scores. Most data are small integers: then float32
// is exact, and ids must be equal, ties included.
#include <nearcell/index/exact_search.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <nearcell/core/random.h>

namespace nearcell {
namespace {

constexpr Metric kMetrics[] = {Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1};

struct Matrix {
    std::vector<float> values;
    size_t rows, cols;
    Matrix(size_t rows_, size_t cols_) : values(rows_ * cols_), rows(rows_), cols(cols_) {}
    Vectors view() const { return MatrixView<const float>(values.data(), rows, cols); }
    const float* row(size_t i) const { return values.data() + i * cols; }
};

// Integers of [0, limit): small limits give many ties.
Matrix integers(size_t rows, size_t cols, uint64_t limit, uint64_t seed) {
    Random random(seed);
    Matrix matrix(rows, cols);
    for (float& value : matrix.values)
        value = static_cast<float>(random.below(limit));
    return matrix;
}

double score_of(const float* a, const float* b, size_t dim, Metric metric) {
    double dot = 0, aa = 0, bb = 0, l1 = 0;
    for (size_t j = 0; j < dim; ++j) {
        const double x = static_cast<double>(a[j]), y = static_cast<double>(b[j]);
        dot += x * y;
        aa += x * x;
        bb += y * y;
        l1 += std::abs(x - y);
    }
    switch (metric) {
        case Metric::L2: return aa + bb - 2 * dot;  // exact in double for these integers
        case Metric::InnerProduct: return dot;
        case Metric::Cosine: return aa == 0 || bb == 0 ? 0 : dot / std::sqrt(aa * bb);
        case Metric::L1: return l1;
    }
    return 0;
}

void expect_exact(const SearchResult& result, const Matrix& base, const Matrix& queries,
                  Metric metric, size_t k) {
    ASSERT_EQ(result.queries, queries.rows);
    ASSERT_EQ(result.ids.size(), queries.rows * k);
    for (size_t q = 0; q < queries.rows; ++q) {
        std::vector<double> scores(base.rows);
        for (size_t i = 0; i < base.rows; ++i)
            scores[i] = score_of(queries.row(q), base.row(i), base.cols, metric);
        std::vector<size_t> order(base.rows);
        std::iota(order.begin(), order.end(), size_t{0});
        const double sign = is_similarity(metric) ? -1 : 1;
        std::stable_sort(order.begin(), order.end(),
                         [&](size_t a, size_t b) { return sign * scores[a] < sign * scores[b]; });
        const size_t count = std::min(k, base.rows);
        ASSERT_EQ(result.counts[q], count);
        for (size_t i = 0; i < k; ++i) {
            const int64_t id = result.ids[q * k + i];
            const float score = result.scores[q * k + i];
            if (i >= count) {
                ASSERT_EQ(id, -1);
                ASSERT_EQ(score, worst_score(metric));
            } else if (metric == Metric::Cosine) {  // rounded: ids may swap among near equals
                ASSERT_FLOAT_EQ(score, static_cast<float>(scores[order[i]]));
                ASSERT_NEAR(scores[static_cast<size_t>(id)], scores[order[i]], 1e-7);
            } else {
                ASSERT_EQ(id, static_cast<int64_t>(order[i])) << metric_name(metric) << ' ' << i;
                ASSERT_EQ(static_cast<double>(score), scores[order[i]]);
            }
        }
    }
}

TEST(ExactSearch, EqualsSortingForEveryMetricAndShape) {
    struct Shape {
        size_t rows, dim, queries, k;
    };
    // The last two span several chunks of rows, with few and with many queries.
    for (const Shape& shape :
         {Shape{1, 1, 1, 1}, Shape{17, 3, 5, 4}, Shape{100, 7, 40, 150}, Shape{3000, 33, 3, 10},
          Shape{9000, 1024, 3, 20}, Shape{5000, 1024, 70, 3}}) {
        const Matrix base = integers(shape.rows, shape.dim, 4, 1);
        const Matrix queries = integers(shape.queries, shape.dim, 4, 2);
        for (const Metric metric : kMetrics) {
            const SearchResult result =
                exact_search(base.view(), queries.view(), metric, shape.k, 2);
            expect_exact(result, base, queries, metric, shape.k);
            EXPECT_EQ(result.stats.scanned, shape.rows * shape.queries);
        }
    }
}

TEST(ExactSearch, IsTheSameForAnyThreads) {
    Random random(3);
    Matrix base(7000, 100), queries(150, 100);
    for (Matrix* matrix : {&base, &queries}) {
        for (float& value : matrix->values)
            value = static_cast<float>(random.normal());
    }
    for (const Metric metric : kMetrics) {
        for (const size_t count : {size_t{1}, size_t{10}, queries.rows}) {
            const Vectors some = queries.view().slice(0, count);
            const SearchResult one = exact_search(base.view(), some, metric, 10, 1);
            for (const int threads : {2, 3, 16}) {
                const SearchResult other = exact_search(base.view(), some, metric, 10, threads);
                ASSERT_EQ(one.ids, other.ids) << metric_name(metric) << ' ' << threads;
                ASSERT_EQ(one.scores, other.scores);
            }
        }
    }
}

TEST(ExactSearch, ReadsEveryElementType) {
    const Matrix base = integers(500, 9, 100, 4), queries = integers(20, 9, 100, 5);
    const std::vector<uint8_t> bytes(base.values.begin(), base.values.end());
    const std::vector<uint8_t> query_bytes(queries.values.begin(), queries.values.end());
    for (const ElementType type : {ElementType::UInt8, ElementType::Int8}) {
        const SearchResult result = exact_search(
            {bytes.data(), type, 500, 9}, {query_bytes.data(), type, 20, 9}, Metric::L2, 10, 1);
        expect_exact(result, base, queries, Metric::L2, 10);
        const SearchResult mixed =
            exact_search({bytes.data(), type, 500, 9}, queries.view(), Metric::L2, 10, 1);
        EXPECT_EQ(mixed.ids, result.ids);
    }
}

// Rows so near each other that float32 sums cannot order them.
TEST(ExactSearch, OrdersNearEquals) {
    Random random(15);
    Matrix base(400, 1000), queries(4, 1000);
    for (float& value : queries.values)
        value = static_cast<float>(1 + random.uniform());
    for (size_t i = 0; i < base.values.size(); ++i) {
        base.values[i] = queries.values[i % 1000] + static_cast<float>(4 + 1e-3 * random.uniform());
    }
    for (const Metric metric : kMetrics) {
        const SearchResult result = exact_search(base.view(), queries.view(), metric, 10, 1);
        for (size_t q = 0; q < queries.rows; ++q) {
            std::vector<double> scores(base.rows);
            for (size_t i = 0; i < base.rows; ++i)
                scores[i] = score_of(queries.row(q), base.row(i), base.cols, metric);
            for (size_t i = 0; i < 10; ++i) {
                const double score = scores[static_cast<size_t>(result.ids[q * 10 + i])];
                EXPECT_FLOAT_EQ(result.scores[q * 10 + i], static_cast<float>(score));
            }
            const double sign = is_similarity(metric) ? -1 : 1;
            std::sort(scores.begin(), scores.end(),
                      [&](double a, double b) { return sign * a < sign * b; });
            EXPECT_FLOAT_EQ(result.scores[q * 10 + 9], static_cast<float>(scores[9]));
        }
    }
}

// Many rows are so nearly equally near that float32 orders them at random.
TEST(ExactSearch, FindsTheNearestOfManyNearEquals) {
    constexpr size_t kDim = 40, kRows = 1500, kQueries = 5, kNear = 10;
    Random random(11);
    Matrix base(kRows, kDim), queries(kQueries, kDim);
    for (size_t i = 0; i < base.values.size(); ++i)
        base.values[i] =
            static_cast<float>(900 + i % kDim * 7) + static_cast<float>(random.below(2)) * 0x1p-10f;
    for (size_t i = 0; i < queries.values.size(); ++i)
        queries.values[i] = static_cast<float>(1100 + i % kDim * 5 + random.below(3));
    for (const Metric metric : {Metric::InnerProduct, Metric::Cosine, Metric::L2}) {
        const SearchResult found = exact_search(base.view(), queries.view(), metric, kNear, 1);
        for (const int threads : {2, 3}) {
            const SearchResult again =
                exact_search(base.view(), queries.view(), metric, kNear, threads);
            EXPECT_EQ(again.ids, found.ids);
        }
        for (size_t q = 0; q < kQueries; ++q) {
            std::vector<std::pair<float, int64_t>> sorted;
            for (size_t i = 0; i < kRows; ++i) {
                const double score = score_of(queries.row(q), base.row(i), kDim, metric);
                sorted.emplace_back(key_from_score(metric, static_cast<float>(score)), i);
            }
            std::sort(sorted.begin(), sorted.end());
            for (size_t j = 0; j < kNear; ++j) {
                EXPECT_EQ(key_from_score(metric, found.scores[q * kNear + j]), sorted[j].first)
                    << metric_name(metric) << " " << q << " " << j;
                if (metric == Metric::Cosine) continue;  // steps of another order may end otherwise
                EXPECT_EQ(found.ids[q * kNear + j], sorted[j].second);
            }
        }
    }
}

// Where squares and products have only some bits, or none, float32 tells few rows apart.
TEST(ExactSearch, FindsTheNearestOfThoseThatUnderflow) {
    constexpr size_t kDim = 3, kRows = 500, kWanted = 20;
    for (const float scale : {0x1p-71f, 0x1p-73f, 0x1p-75f}) {
        Random random(14);
        Matrix base(kRows, kDim), queries(10, kDim);
        for (Matrix* const matrix : {&base, &queries}) {
            for (float& value : matrix->values)
                value = static_cast<float>(random.normal()) * scale;
        }
        for (const Metric metric : {Metric::L2, Metric::InnerProduct}) {
            const SearchResult result =
                exact_search(base.view(), queries.view(), metric, kWanted, 1);
            for (size_t q = 0; q < queries.rows; ++q) {
                std::vector<std::pair<float, int64_t>> expected;
                for (size_t i = 0; i < kRows; ++i) {
                    double sum = 0;
                    for (size_t j = 0; j < kDim; ++j) {
                        const auto x = static_cast<double>(base.row(i)[j]);
                        const auto y = static_cast<double>(queries.row(q)[j]);
                        sum += metric == Metric::L2 ? (x - y) * (x - y) : -x * y;
                    }
                    expected.emplace_back(static_cast<float>(sum), static_cast<int64_t>(i));
                }
                std::sort(expected.begin(), expected.end());
                for (size_t i = 0; i < kWanted; ++i)
                    ASSERT_EQ(result.ids[q * kWanted + i], expected[i].second) << q << ' ' << i;
            }
        }
    }
}

// Where |q|^2 + |x|^2 - 2qx would lose every digit.
TEST(ExactSearch, SurvivesTranslation) {
    Matrix base = integers(2000, 16, 10, 6), queries = integers(60, 16, 10, 7);
    const SearchResult before = exact_search(base.view(), queries.view(), Metric::L2, 10, 1);
    for (Matrix* matrix : {&base, &queries}) {
        for (float& value : matrix->values)
            value += 12345.0f;
    }
    const SearchResult after = exact_search(base.view(), queries.view(), Metric::L2, 10, 1);
    EXPECT_EQ(before.ids, after.ids);
    EXPECT_EQ(before.scores, after.scores);
}

TEST(ExactSearch, ZeroVectorsHaveCosineZero) {
    Matrix base = integers(3, 4, 5, 8), queries(1, 4);
    const SearchResult result = exact_search(base.view(), queries.view(), Metric::Cosine, 3, 1);
    EXPECT_EQ(result.ids, (std::vector<int64_t>{0, 1, 2}));
    for (const float score : result.scores) {
        EXPECT_EQ(score, 0.0f);
        EXPECT_FALSE(std::signbit(score));
    }
}

TEST(ExactSearch, AcceptsNoQueriesAndNoRows) {
    const Matrix base = integers(10, 4, 5, 9), none(0, 4);
    const SearchResult no_queries = exact_search(base.view(), none.view(), Metric::L2, 3, 1);
    EXPECT_EQ(no_queries.queries, 0u);
    EXPECT_TRUE(no_queries.ids.empty());
    const SearchResult no_rows = exact_search(none.view(), base.view(), Metric::L2, 3, 1);
    EXPECT_EQ(no_rows.ids, std::vector<int64_t>(30, -1));
    EXPECT_EQ(no_rows.counts, std::vector<size_t>(10, 0));
}

StatusCode refusal(const Vectors& base, const Vectors& queries, size_t k,
                   const Progress& progress = {}) {
    try {
        exact_search(base, queries, Metric::L2, k, 1, progress);
    } catch (const Error& error) {
        return error.code();
    }
    ADD_FAILURE() << "accepted";
    return StatusCode::Io;
}

TEST(ExactSearch, RefusesBadInput) {
    Matrix base = integers(10, 4, 5, 10);
    const Matrix queries = integers(2, 4, 5, 11), wide = integers(2, 5, 5, 12);
    EXPECT_EQ(refusal(base.view(), queries.view(), 0), StatusCode::InvalidArgument);
    EXPECT_EQ(refusal(base.view(), wide.view(), 1), StatusCode::InvalidArgument);
    EXPECT_EQ(refusal(Matrix(3, 0).view(), Matrix(3, 0).view(), 1), StatusCode::InvalidArgument);
    EXPECT_EQ(refusal(base.view(), queries.view(), 1, [](auto...) { return false; }),
              StatusCode::Cancelled);
    base.values[7] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(refusal(base.view(), queries.view(), 1), StatusCode::NonFinite);
    EXPECT_EQ(refusal(queries.view(), base.view(), 1), StatusCode::NonFinite);
}

TEST(ExactSearch, ReportsRisingProgressToTheEnd) {
    const Matrix base = integers(9000, 1024, 4, 13), queries = integers(2, 1024, 4, 14);
    std::vector<double> reports;
    double last_total = 0;
    exact_search(base.view(), queries.view(), Metric::L1, 1, 1,
                 [&](std::string_view, double done, double total) {
                     reports.push_back(done);
                     last_total = total;
                     return true;
                 });
    ASSERT_GE(reports.size(), 3u);
    EXPECT_TRUE(std::is_sorted(reports.begin(), reports.end()));
    EXPECT_EQ(reports.back(), last_total);
}

TEST(ExactSearch, AsksSoonerWithFewThreads) {
    const Matrix base = integers(20, 2, 100, 17), queries = integers(5000, 2, 100, 18);
    for (const int threads : {1, 2}) {
        std::vector<double> reports;
        exact_search(base.view(), queries.view(), Metric::L2, 1, threads,
                     [&](std::string_view, double done, double) {
                         reports.push_back(done / 20);
                         return true;
                     });
        const std::vector<double> one = {0, 2048, 4096, 5000}, two = {0, 4096, 5000};
        EXPECT_EQ(reports, threads == 1 ? one : two);
    }
}

TEST(ExactSearch, FewerQueriesGoTogetherWhereTheyAskForMuch) {
    const Matrix base = integers(8200, 2, 100, 15), queries = integers(300, 2, 100, 16);
    std::vector<double> reports;
    const SearchResult all = exact_search(base.view(), queries.view(), Metric::L2, base.rows, 2,
                                          [&](std::string_view, double done, double) {
                                              reports.push_back(done);
                                              return true;
                                          });
    EXPECT_EQ(reports, (std::vector<double>{0, 256.0 * 8200, 300.0 * 8200}));
    for (const size_t q : {size_t{0}, size_t{255}, size_t{256}, size_t{299}}) {
        const SearchResult one =
            exact_search(base.view(), queries.view().slice(q, 1), Metric::L2, base.rows, 1);
        const auto begin = all.ids.begin() + static_cast<ptrdiff_t>(q * base.rows);
        EXPECT_TRUE(std::equal(one.ids.begin(), one.ids.end(), begin)) << "query " << q;
    }
}

}  // namespace
}  // namespace nearcell
