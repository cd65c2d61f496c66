// Exact search on the emulated device against exact_search on the CPU, and, where float32 cannot
// tell rows apart, against sorting all scores: ids and the bits of scores.
#include <nearcell/gpu/exact_search.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>
#include <nearcell/gpu/simt/emulator.h>
#include <nearcell/index/exact_search.h>

namespace nearcell::gpu {
namespace {

constexpr Metric kProducts[] = {Metric::L2, Metric::InnerProduct, Metric::Cosine};
constexpr Metric kMetrics[] = {Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1};

class ExactSearchTest : public testing::Test {
   protected:
    ExactSearchTest() { simt::reset(); }
    ~ExactSearchTest() override { simt::reset(); }
};

struct Matrix {
    std::vector<float> values;
    size_t rows, cols;
    Matrix(size_t rows_, size_t cols_) : values(rows_ * cols_), rows(rows_), cols(cols_) {}
    Vectors view() const { return MatrixView<const float>(values.data(), rows, cols); }
    float* row(size_t i) { return values.data() + i * cols; }
    const float* row(size_t i) const { return values.data() + i * cols; }
    Matrix slice(size_t first, size_t count) const {
        Matrix part(count, cols);
        std::copy_n(row(first), count * cols, part.row(0));
        return part;
    }
};

Matrix filled(size_t rows, size_t cols, const std::function<double(size_t, size_t)>& value) {
    Matrix matrix(rows, cols);
    for (size_t i = 0; i < rows; ++i) {
        for (size_t j = 0; j < cols; ++j)
            matrix.row(i)[j] = static_cast<float>(value(i, j));
    }
    return matrix;
}
Matrix normals(size_t rows, size_t cols, uint64_t seed) {
    Random random(seed);
    return filled(rows, cols, [&](size_t, size_t) { return random.normal(); });
}

Matrix integers(size_t rows, size_t cols, uint64_t limit, uint64_t seed) {
    Random random(seed);
    return filled(rows, cols,
                  [&](size_t, size_t) { return static_cast<double>(random.below(limit)); });
}

// Sums in the order of exact_search.cpp: eight lanes, then a tree.
double sum_of(size_t n, const std::function<double(size_t)>& term) {
    double lanes[8] = {};
    for (size_t j = 0; j < n; ++j)
        lanes[j % 8] += term(j);
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

float key_of(Metric metric, const float* a, const float* b, size_t dim) {
    const auto product = [&](const float* x, const float* y) {
        return sum_of(
            dim, [&](size_t j) { return static_cast<double>(x[j]) * static_cast<double>(y[j]); });
    };
    const auto difference = [&](size_t j) {
        return static_cast<double>(a[j]) - static_cast<double>(b[j]);
    };
    double score = 0;
    if (metric == Metric::L2)
        score = sum_of(dim, [&](size_t j) { return difference(j) * difference(j); });
    if (metric == Metric::L1)
        score = sum_of(dim, [&](size_t j) { return std::abs(difference(j)); });
    if (metric == Metric::InnerProduct) score = product(a, b);
    if (metric == Metric::Cosine) {
        const double squares = product(a, a) * product(b, b);
        score = squares == 0 ? 0 : std::clamp(product(a, b) / std::sqrt(squares), -1.0, 1.0);
    }
    return 0.0f + key_from_score(metric, static_cast<float>(score));
}

// All scores, sorted: right also where float32 cannot tell rows apart, which the CPU scans by.
SearchResult sorted_scores(const Matrix& base, const Matrix& queries, Metric metric, size_t k) {
    SearchResult result;
    result.queries = queries.rows;
    result.k = k;
    for (size_t q = 0; q < queries.rows; ++q) {
        std::vector<std::pair<float, int64_t>> keys;
        for (size_t i = 0; i < base.rows; ++i)
            keys.emplace_back(key_of(metric, queries.row(q), base.row(i), base.cols), i);
        std::sort(keys.begin(), keys.end());
        keys.resize(std::min(k, keys.size()));
        result.counts.push_back(keys.size());
        keys.resize(k, {std::numeric_limits<float>::max(), -1});
        for (const auto& [key, id] : keys) {
            result.scores.push_back(0.0f + score_from_key(metric, key));
            result.ids.push_back(id);
        }
    }
    return result;
}

void expect_equal(const SearchResult& found, const SearchResult& truth, const std::string& what) {
    ASSERT_EQ(found.queries, truth.queries) << what;
    ASSERT_EQ(found.k, truth.k) << what;
    ASSERT_EQ(found.counts, truth.counts) << what;
    for (size_t i = 0; i < truth.ids.size(); ++i) {
        ASSERT_EQ(found.ids[i], truth.ids[i])
            << what << " query " << i / truth.k << " place " << i % truth.k;
        ASSERT_EQ(std::bit_cast<uint32_t>(found.scores[i]),
                  std::bit_cast<uint32_t>(truth.scores[i]))
            << what << " query " << i / truth.k << " place " << i % truth.k;
    }
}

std::string name_of(const Matrix& base, Metric metric, size_t k) {
    return std::string(metric_name(metric)) + ", " + std::to_string(base.rows) + " x " +
           std::to_string(base.cols) + ", k = " + std::to_string(k);
}

void expect_as_cpu(const Matrix& base, const Matrix& queries, Metric metric, size_t k) {
    const SearchResult truth = exact_search(base.view(), queries.view(), metric, k, 1);
    const SearchResult found = device_exact_search(base.view(), queries.view(), metric, k);
    expect_equal(found, truth, name_of(base, metric, k));
    EXPECT_EQ(found.stats.scanned, truth.stats.scanned);
}

void expect_sorted(const Matrix& base, const Matrix& queries, Metric metric, size_t k,
                   const DeviceFlatOptions& options = {}) {
    const SearchResult found = device_exact_search(base.view(), queries.view(), metric, k, options);
    expect_equal(found, sorted_scores(base, queries, metric, k), name_of(base, metric, k));
}

// Rows near some of `centres` centres, all far from the origin.
Matrix clusters(size_t rows, size_t cols, size_t centres, double far, double width, uint64_t seed) {
    const Matrix middle = normals(centres, cols, 99);
    Random random(seed);
    size_t centre = 0;
    return filled(rows, cols, [&](size_t, size_t j) {
        if (j == 0) centre = random.below(centres);
        return far + static_cast<double>(middle.row(centre)[j]) + width * random.normal();
    });
}

TEST_F(ExactSearchTest, EqualsTheCpuInEveryDimension) {
    for (const size_t dim : {1, 7, 16, 33, 96, 128, 200}) {
        for (const Metric metric : kProducts)
            expect_as_cpu(normals(1000, dim, dim), normals(5, dim, dim + 1), metric, 10);
    }
}

TEST_F(ExactSearchTest, EqualsTheCpuForAnyRowsAndK) {
    for (const size_t rows : {1, 17, 1000, 5000}) {
        const Matrix base = normals(rows, 24, rows), queries = normals(4, 24, 7);
        for (const Metric metric : kMetrics) {
            for (const size_t k : {1, 10, 100})
                expect_as_cpu(base, queries, metric, k);
        }
    }
    const Matrix base = normals(400, 24, 1), queries = normals(3, 24, 7);
    for (const Metric metric : kMetrics) {
        expect_as_cpu(base, queries, metric, 399);
        expect_as_cpu(base, queries, metric, 3000);
    }
}

TEST_F(ExactSearchTest, LessOfEverything) {
    const Matrix none(0, 5), some = normals(3, 5, 1);
    for (const Metric metric : kMetrics) {
        expect_as_cpu(none, some, metric, 2);
        expect_as_cpu(some, none, metric, 2);
        const DeviceFlat index(some.view(), metric);
        EXPECT_EQ(index.rows(), 3u);
        EXPECT_EQ(index.dim(), 5u);
    }
}

TEST_F(ExactSearchTest, ManyQueries) {
    const Matrix base = normals(900, 40, 1);
    for (const size_t queries : {47, 48, 49, 100, 150, 300})
        expect_as_cpu(base, normals(queries, 40, queries), Metric::L2, 5);
    for (const size_t queries : {50, 200})
        expect_as_cpu(normals(300, 130, 1), normals(queries, 130, queries), Metric::L2, 5);
}

// Each shape of a block of the scan that takes any dimension, and what lies between them.
TEST_F(ExactSearchTest, WideVectorsAndAnyNumberOfQueries) {
    const Matrix base = normals(700, 131, 1);
    for (const size_t queries : {1, 7, 8, 9, 48, 49, 100, 128, 129})
        expect_as_cpu(base, normals(queries, 131, queries), Metric::L2, 5);
    simt::config().resident_blocks = 4;
    simt::config().architecture = 75;
    for (const size_t queries : {1, 48, 100})
        expect_as_cpu(base, normals(queries, 131, queries), Metric::Cosine, 5);
}

// Columns without a query have no bits that could pass.
TEST_F(ExactSearchTest, WideVectorsWithoutLimits) {
    const Matrix far = filled(3, 150, [](size_t, size_t) { return 1e17; });
    for (const size_t queries : {1, 3})
        expect_sorted(normals(600, 150, 1), far.slice(0, queries), Metric::L2, 5);
}

TEST_F(ExactSearchTest, TiesGoToTheSmallerRow) {
    for (const Metric metric : kMetrics) {
        expect_as_cpu(integers(3000, 3, 4, 1), integers(5, 3, 4, 2), metric, 20);
        expect_as_cpu(integers(1000, 20, 2, 1), integers(5, 20, 2, 2), metric, 50);
    }
}

TEST_F(ExactSearchTest, ClustersFarFromTheOrigin) {
    for (const Metric metric : kProducts) {
        expect_sorted(clusters(3000, 32, 20, 1000, 0.01, 1), clusters(4, 32, 20, 1000, 0.01, 2),
                      metric, 10);
        expect_sorted(clusters(2000, 32, 5, 3, 1e-3, 1), clusters(4, 32, 5, 3, 1e-3, 2), metric,
                      10);
    }
}

// The first round's 64 rows of each query, and few others.
TEST_F(ExactSearchTest, ScoresFewRows) {
    for (const Metric metric : kProducts) {
        const SearchResult found =
            device_exact_search(normals(5000, 96, 1).view(), normals(20, 96, 2).view(), metric, 10);
        EXPECT_LT(found.stats.reranked, 20u * 350u) << metric_name(metric);
        EXPECT_GE(found.stats.reranked, 20u * 64u);
    }
}

// What 16 bits cannot tell apart: every row may be a neighbour, and there is not room for all.
TEST_F(ExactSearchTest, RowsThatLookEqual) {
    const Matrix same =
        filled(4000, 16, [](size_t, size_t j) { return 1.0 + static_cast<double>(j); });
    for (const Metric metric : kMetrics)
        expect_sorted(same, normals(2, 16, 1), metric, 12, {.candidates = 1000});
    Random random(5);
    const Matrix near = filled(2500, 16, [&](size_t i, size_t j) {
        return (i == 0 ? 100.0 : 1.0) + 1e-6 * random.normal() + static_cast<double>(j);
    });
    for (const Metric metric : kProducts) {
        expect_sorted(near, near.slice(0, 4), metric, 12, {.candidates = 700});
        expect_sorted(near, normals(2, 16, 1), metric, 12, {.candidates = 100});
    }
}

// Of so many queries the host looks at every round.
TEST_F(ExactSearchTest, ManyQueriesThatAreCrowded) {
    const Matrix some = integers(300, 3, 2, 1), queries = integers(1030, 3, 2, 2);
    for (const size_t candidates : {0, 70})
        expect_sorted(some, queries, Metric::L2, 6, {.candidates = candidates});
}

TEST_F(ExactSearchTest, LittleRoomCostsOnlyTime) {
    const Matrix base = normals(1200, 20, 1), queries = normals(50, 20, 2);
    for (const Metric metric : kMetrics) {
        const SearchResult truth = exact_search(base.view(), queries.view(), metric, 20, 1);
        for (const DeviceFlatOptions& options :
             {DeviceFlatOptions{.candidates = 150}, DeviceFlatOptions{.scratch_bytes = 300000}}) {
            const SearchResult found =
                device_exact_search(base.view(), queries.view(), metric, 20, options);
            expect_equal(found, truth, name_of(base, metric, 20));
        }
    }
    for (const size_t candidates : {1, 7})
        expect_sorted(base.slice(0, 300), queries.slice(0, 2), Metric::L2, 20,
                      {.scratch_bytes = 0, .candidates = candidates});
}

TEST_F(ExactSearchTest, LargeSmallAndMixedNumbers) {
    for (const double scale : {1e-36, 1e-20, 1e15}) {
        Random random(3);
        const auto value = [&](size_t, size_t) { return scale * random.normal(); };
        const Matrix base = filled(1500, 10, value), queries = filled(3, 10, value);
        for (const Metric metric : kProducts)
            expect_sorted(base, queries, metric, 10);
    }
    Random random(4);
    const Matrix mixed = filled(1500, 10, [&](size_t i, size_t) {
        return std::pow(10.0, static_cast<double>(i % 36) - 20) * random.normal();
    });
    const Matrix queries = filled(8, 10, [&](size_t i, size_t) {
        return std::pow(10.0, 5.0 * static_cast<double>(i) - 20) * random.normal();
    });
    for (const Metric metric : kMetrics)
        expect_sorted(mixed, queries, metric, 10);
}

TEST_F(ExactSearchTest, ZerosAndQueriesFarAway) {
    Matrix base = normals(1200, 9, 1);
    for (size_t i = 0; i < base.rows; i += 50)
        std::fill(base.row(i), base.row(i) + base.cols, 0.0f);
    Matrix queries(5, 9);
    for (size_t j = 0; j < 9; ++j) {
        queries.row(1)[j] = 1e17f;
        queries.row(2)[j] = -1e-30f;
        queries.row(3)[j] = j == 0 ? 1e6f : 0.0f;
        queries.row(4)[j] = base.row(77)[j];
    }
    for (const Metric metric : kMetrics)
        expect_sorted(base, queries, metric, 30);
}

// Shapes, numbers, room and orders by chance.
Matrix any_matrix(size_t rows, size_t dim, double offset, double width, double spread,
                  Random& random) {
    double factor = 1;
    return filled(rows, dim, [&](size_t, size_t j) {
        if (j == 0) factor = width * std::pow(10.0, spread * random.normal());
        return std::clamp(offset + factor * random.normal(), -1e15, 1e15);
    });
}

TEST_F(ExactSearchTest, AnyCase) {
    Random random(1);
    for (int run = 0; run < 60; ++run) {
        simt::reset();
        simt::config().seed = random.next();
        simt::config().resident_blocks = static_cast<int>(1 + random.below(5));
        simt::config().architecture = random.below(3) == 0 ? 75 : 90;
        const size_t dim = 1 + random.below(random.below(2) == 0 ? 12 : 300);
        const size_t rows = 1 + random.below(random.below(3) == 0 ? 60 : 1500);
        const size_t k = 1 + random.below(random.below(3) == 0 ? rows + 20 : 20);
        const double offset = random.below(2) == 0 ? 0 : std::pow(10.0, 4 * random.normal());
        const double width = std::pow(10.0, 4 * random.normal());
        const double spread = random.below(2) == 0 ? 0 : 3 * random.uniform();
        const Matrix base = any_matrix(rows, dim, offset, width, spread, random);
        const Matrix queries = any_matrix(1 + random.below(4), dim, offset, width, spread, random);
        const size_t candidates = random.below(3) == 0 ? 1 + random.below(300) : 0;
        SCOPED_TRACE("run " + std::to_string(run));
        expect_sorted(base, queries, kMetrics[random.below(4)], k, {.candidates = candidates});
        if (HasFailure()) return;
    }
}

// Before sm_80 products are of half.
TEST_F(ExactSearchTest, WithoutBfloat16) {
    simt::config().architecture = 75;
    for (const size_t dim : {5, 64, 128, 150}) {
        for (const Metric metric : kProducts)
            expect_as_cpu(normals(1000, dim, dim), normals(3, dim, dim + 1), metric, 10);
    }
    Random random(4);
    const Matrix mixed = filled(1500, 10, [&](size_t i, size_t) {
        return std::pow(10.0, static_cast<double>(i % 36) - 20) * random.normal();
    });
    for (const Metric metric : kMetrics) {
        expect_sorted(mixed, mixed.slice(0, 36), metric, 10);
        expect_sorted(clusters(2000, 32, 5, 1000, 0.01, 1), clusters(3, 32, 5, 1000, 0.01, 2),
                      metric, 10);
    }
}

TEST_F(ExactSearchTest, IsTheSameInAnyOrder) {
    const Matrix base = integers(1300, 12, 6, 1), queries = integers(50, 12, 6, 2);
    for (const Metric metric : {Metric::L2, Metric::Cosine}) {
        const SearchResult truth = exact_search(base.view(), queries.view(), metric, 15, 1);
        for (uint64_t seed = 1; seed <= 6; ++seed) {
            simt::config().seed = seed;
            simt::config().resident_blocks = static_cast<int>(seed % 4 * 3 + 1);
            simt::config().preempt_one_in = seed % 2 == 0 ? 50 : 0;
            simt::config().deferred_streams = seed % 3 == 0;
            const SearchResult found = device_exact_search(
                base.view(), queries.view(), metric, 15, {.candidates = seed % 2 == 0 ? 200u : 0u});
            expect_equal(found, truth, "seed " + std::to_string(seed));
        }
    }
}

constexpr size_t kMany = 70;  // so that a block has more to select from than it has threads

// Whether anything is wrong without a line that orders threads.
bool is_noticed(const simt::Site& without, uint64_t seed, const Matrix& base, const Matrix& queries,
                const SearchResult& truth) {
    simt::reset();
    simt::config().seed = seed;
    simt::config().resident_blocks = 3;
    simt::config().without = without;
    try {
        return device_exact_search(base.view(), queries.view(), Metric::L2, kMany).ids != truth.ids;
    } catch (const simt::FaultError&) {
        return true;
    }
}

// How many lines that order threads `counts` names, without each of which something is wrong.
size_t noticed_barriers(const Matrix& base, const Matrix& queries,
                        const std::function<bool(const simt::Site&)>& counts) {
    simt::reset();
    const SearchResult truth = exact_search(base.view(), queries.view(), Metric::L2, kMany, 1);
    expect_equal(device_exact_search(base.view(), queries.view(), Metric::L2, kMany), truth, "all");
    size_t barriers = 0;
    for (const simt::Site& site : simt::sites()) {
        if (!counts(site)) continue;
        ++barriers;
        for (uint64_t seed = 1; seed <= 3; ++seed)
            EXPECT_TRUE(is_noticed(site, seed, base, queries, truth))
                << site.file << ':' << site.line << ", seed " << seed << ", " << queries.rows
                << " queries of " << queries.cols << " dimensions";
    }
    return barriers;
}

TEST_F(ExactSearchTest, NoticesEveryMissingBarrier) {
    const auto any = [](const simt::Site& site) {
        return site.kind == simt::SiteKind::BlockBarrier ||
               site.kind == simt::SiteKind::WarpBarrier;
    };
    for (const size_t dim : {8, 130})  // both scans
        EXPECT_EQ(noticed_barriers(normals(1200, dim, 1), normals(2, dim, 2), any), 8u) << dim;
}

// Those of the scan in its other shapes.
TEST_F(ExactSearchTest, NoticesEveryMissingBarrierOfWideScans) {
    const auto of_scans = [](const simt::Site& site) {
        return site.kind == simt::SiteKind::BlockBarrier &&
               site.file.find("scan_rows") != std::string::npos;
    };
    for (const size_t count : {20, 60, 130})
        EXPECT_EQ(noticed_barriers(normals(400, 130, 1), normals(count, 130, 2), of_scans), 1u)
            << count;
}

TEST_F(ExactSearchTest, TakesEveryElementType) {
    Random random(1);
    std::vector<int8_t> bytes(1000 * 12);
    for (int8_t& byte : bytes)
        byte = static_cast<int8_t>(random.below(256));
    for (const ElementType type : {ElementType::Int8, ElementType::UInt8}) {
        const Vectors base(bytes.data(), type, 1000, 12), queries = base.slice(0, 3);
        for (const Metric metric : kMetrics)
            expect_equal(device_exact_search(base, queries, metric, 5),
                         exact_search(base, queries, metric, 5, 1), "bytes");
    }
}

// A base is searched many times; nothing of one search is left for the next, or on the device.
TEST_F(ExactSearchTest, KeepsTheBase) {
    const Matrix base = normals(1000, 8, 1);
    {
        DeviceFlat first(base.view(), Metric::L2);
        const DeviceFlat index = std::move(first);
        const size_t kept = simt::counters().device_bytes;
        for (const size_t k : {3, 1, 40}) {
            const Matrix queries = normals(2, 8, k);
            expect_equal(index.search(queries.view(), k),
                         exact_search(base.view(), queries.view(), Metric::L2, k, 1), "again");
            EXPECT_EQ(simt::counters().device_bytes, kept);
        }
    }
    EXPECT_EQ(simt::counters().device_bytes, 0u);
}

// The first search of a size makes what the next ones find.
TEST_F(ExactSearchTest, MakesNothingForASecondSearch) {
    const Matrix base = normals(600, 20, 1), queries = normals(30, 20, 2);
    const DeviceFlat index(base.view(), Metric::L2);
    const SearchResult first = index.search(queries.view(), 5);
    const simt::Counters before = simt::counters();
    expect_equal(index.search(queries.view(), 5), first, "again");
    expect_equal(index.search(queries.slice(0, 7).view(), 5),
                 exact_search(base.view(), queries.slice(0, 7).view(), Metric::L2, 5, 1), "fewer");
    EXPECT_EQ(simt::counters().streams, before.streams);
    EXPECT_EQ(simt::counters().pinned_arrays, before.pinned_arrays);
}

TEST_F(ExactSearchTest, SearchesOfManyThreads) {
    const Matrix base = normals(900, 20, 1), queries = normals(40, 20, 2);
    const DeviceFlat index(base.view(), Metric::Cosine, {.threads = 1});
    const SearchResult truth = exact_search(base.view(), queries.view(), Metric::Cosine, 5, 1);
    std::vector<SearchResult> found(4);
    std::vector<std::thread> threads;
    for (SearchResult& result : found) {
        threads.emplace_back([&] {
            for (int i = 0; i < 3; ++i)
                result = index.search(queries.view(), 5);
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    for (const SearchResult& result : found)
        expect_equal(result, truth, "beside others");
}

// It is copied in parts of 16 MiB.
TEST_F(ExactSearchTest, BaseOfSeveralCopies) {
    const Matrix base = normals(257, size_t{1} << 14, 1);
    expect_as_cpu(base, base.slice(255, 2), Metric::L2, 1);
}

std::string error_of(const std::function<void()>& call) {
    try {
        call();
    } catch (const Error& error) {
        return std::string(status_name(error.code())) + ": " + error.what();
    }
    return "no error";
}

// What rows may be off, or its square, is more than a float holds: they are so near to each other
// and so far away. No row is left out then, nor is one found of the queries that fill a tile.
TEST_F(ExactSearchTest, NearlyEqualRowsBesideOneLargeValue) {
    for (const double apart : {0x1p-60, 0x1p-90, 0x1p-149}) {
        const Matrix base = filled(300, 2, [&](size_t i, size_t j) {
            return j == 0 ? 0x1p50 : static_cast<double>(i * 7 % 300) * apart;
        });
        Matrix queries =
            filled(3, 2, [&](size_t q, size_t) { return static_cast<double>(q) * apart; });
        queries.row(1)[0] = 0x1p50f;
        for (const Metric metric : kProducts)
            expect_sorted(base, queries, metric, 5);
    }
}

TEST_F(ExactSearchTest, RefusesWhatTheCpuRefuses) {
    const Matrix good = normals(20, 4, 1);
    Matrix nan = good, large = good;
    nan.row(3)[2] = std::numeric_limits<float>::quiet_NaN();
    large.row(3)[2] = 1e19f;
    const Matrix narrow = normals(2, 3, 1), columnless(2, 0);
    struct Call {
        const Matrix &base, &queries;
        size_t k;
    };
    for (const Call& call : {Call{good, good, 0}, Call{good, narrow, 1}, Call{nan, good, 1},
                             Call{good, nan, 1}, Call{large, good, 1}, Call{good, large, 1},
                             Call{columnless, columnless, 1}, Call{narrow, columnless, 1}}) {
        const std::string expected = error_of(
            [&] { exact_search(call.base.view(), call.queries.view(), Metric::L2, call.k, 1); });
        EXPECT_NE(expected, "no error");
        EXPECT_EQ(error_of([&] {
                      device_exact_search(call.base.view(), call.queries.view(), Metric::L2,
                                          call.k);
                  }),
                  expected);
    }
}

TEST_F(ExactSearchTest, SaysWhenTheDeviceIsFull) {
    const Matrix base = normals(1000, 40, 1);
    simt::config().device_bytes = 250000;
    const auto build = [&] { const DeviceFlat index(base.view(), Metric::L2); };
    EXPECT_EQ(error_of(build).substr(0, 12), "OutOfMemory:");
    simt::config().device_bytes = size_t{1} << 30;
    EXPECT_EQ(error_of(build), "no error");
    EXPECT_EQ(simt::counters().device_bytes, 0u);

    const DeviceFlat index(base.view(), Metric::L2);
    const size_t held = simt::counters().device_bytes;
    const Matrix queries = normals(3, 40, 2);
    const SearchResult truth = exact_search(base.view(), queries.view(), Metric::L2, 4, 1);
    for (const size_t left : {100, 3000, 20000}) {
        simt::config().device_bytes = held + left;
        const std::string error = error_of([&] { index.search(queries.view(), 4); });
        EXPECT_EQ(error.substr(0, 12), "OutOfMemory:") << left;
        EXPECT_EQ(simt::counters().device_bytes, held);
        simt::config().device_bytes = size_t{1} << 30;
        expect_equal(index.search(queries.view(), 4), truth, "after a failure");
    }
}

}  // namespace
}  // namespace nearcell::gpu
