// CudaBackend on the emulated device against the CPU: the same bits.
#include <nearcell/gpu/cuda_backend.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include <nearcell/kernels/fast_rotation.h>
#include <nearcell/kernels/linear_map.h>

#include "gpu/backend_support.h"

namespace nearcell::gpu {
namespace {

using Sizes = std::initializer_list<size_t>;

::testing::AssertionResult same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    if (a.size() != b.size()) return ::testing::AssertionFailure() << "of different lengths";
    for (size_t i = 0; i < a.size(); ++i) {
        if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0)
            return ::testing::AssertionFailure() << a[i] << " and " << b[i] << " at " << i;
    }
    return ::testing::AssertionSuccess();
}

void expect_same_scores(const Backend& backend, const Matrix& q, const Matrix& x, Metric metric) {
    const FloatBlocks blocks(x.view());
    Matrix expected(q.rows, x.rows, 3), found(q.rows, x.rows, 3);
    cpu_backend().scores(q.view(), blocks, metric, expected.view(), 1);
    const uint64_t before = simt::counters().launches;
    backend.scores(q.view(), blocks, metric, found.view(), 2);
    EXPECT_GT(simt::counters().launches, before);
    EXPECT_TRUE(same_bits(found.data, expected.data))
        << metric_name(metric) << ' ' << q.rows << " x " << x.rows << " x " << x.cols;
}

struct Assigned {
    std::vector<uint32_t> labels;
    std::vector<float> keys;
};

Assigned assigned(const Backend& backend, MatrixView<const float> x, MatrixView<const float> rows,
                  Metric metric, int threads = 1) {
    Assigned result{std::vector<uint32_t>(x.rows, 77), std::vector<float>(x.rows)};
    backend.assign(x, rows, metric, result.labels.data(), result.keys.data(), threads);
    return result;
}

void expect_same_labels(const Backend& backend, MatrixView<const float> x,
                        MatrixView<const float> rows, Metric metric) {
    const std::string what = std::string(metric_name(metric)) + ' ' + std::to_string(x.rows) +
                             " x " + std::to_string(rows.rows) + " x " + std::to_string(x.cols);
    const Assigned expected = assigned(cpu_backend(), x, rows, metric);
    const uint64_t before = simt::counters().launches;
    const Assigned found = assigned(backend, x, rows, metric);
    EXPECT_GT(simt::counters().launches, before) << what;
    EXPECT_EQ(found.labels, expected.labels) << what;
    EXPECT_TRUE(same_bits(found.keys, expected.keys)) << what;
    std::vector<uint32_t> labels(x.rows, 77);
    backend.assign(x, rows, metric, labels.data(), nullptr, 1);
    EXPECT_EQ(labels, expected.labels) << what;
}

TEST_F(CudaBackendTest, ScoresHaveTheBitsOfTheCpu) {
    const CudaBackend backend(on_device());
    Random random(1);
    for (const size_t d : Sizes{1, 5, 16, 17, 40}) {
        for (const Metric metric : checks::kAllMetrics) {
            expect_same_scores(backend, Matrix(3, d, random, 0, 2), Matrix(1, d, random), metric);
            expect_same_scores(backend, Matrix(150, d, random), Matrix(37, d, random), metric);
        }
    }
    expect_same_scores(backend, Matrix(130, 20, random, 100), Matrix(260, 20, random, 100),
                       Metric::L2);
}

TEST_F(CudaBackendTest, LabelsAndKeysHaveTheBitsOfTheCpu) {
    const CudaBackend backend(on_device());
    Random random(2);
    for (const size_t d : Sizes{1, 16, 31, 70}) {
        for (const size_t rows : Sizes{1, 33, 150}) {
            for (const double shift : {0.0, 3000.0}) {  // far away, products cancel
                const Matrix x(135, d, random, shift, 3), centroids(rows, d, random, shift, 1);
                for (const Metric metric : {Metric::L2, Metric::InnerProduct})
                    expect_same_labels(backend, x.view(), centroids.view(), metric);
            }
        }
    }
    const Matrix x(300, 20, random), centroids(10, 20, random);
    for (const Metric metric : {Metric::Cosine, Metric::L1})
        expect_same_labels(backend, x.view(), centroids.view(), metric);
}

CudaBackendOptions searching() {
    CudaBackendOptions options = on_device();
    options.searched_rows = 4;
    return options;
}

// Where the nearest rows are found on tensor cores.
TEST_F(CudaBackendTest, SearchedLabelsHaveTheBitsOfTheCpu) {
    const CudaBackend backend(searching());
    Random random(12);
    for (const size_t d : Sizes{1, 40}) {
        for (const size_t rows : Sizes{4, 600}) {
            for (const double shift : {0.0, 3000.0}) {
                const Matrix x(9, d, random, shift, 3), centroids(rows, d, random, shift, 1);
                for (const Metric metric : {Metric::L2, Metric::InnerProduct})
                    expect_same_labels(backend, x.view(), centroids.view(), metric);
            }
        }
    }
    // Of more dimensions, in blocks of every shape.
    for (const size_t count : Sizes{5, 40, 100, 200}) {
        const Matrix x(count, 131, random), centroids(70, 131, random);
        for (const Metric metric : {Metric::L2, Metric::InnerProduct})
            expect_same_labels(backend, x.view(), centroids.view(), metric);
    }
    // Many equal keys: every vector is doubtful.
    const Matrix x = grid_matrix(60, 3, random), rows = grid_matrix(600, 3, random);
    for (const Metric metric : {Metric::L2, Metric::InnerProduct})
        expect_same_labels(backend, x.view(), rows.view(), metric);
    // Several slices under way, with doubtful ones in each, compared some at a time.
    CudaBackendOptions small = searching();
    small.slice_bytes = 1000;
    const CudaBackend in_slices(small);
    for (const bool deferred : {false, true}) {
        simt::config().deferred_streams = deferred;
        for (const Metric metric : {Metric::L2, Metric::InnerProduct})
            expect_same_labels(in_slices, x.view(), rows.view(), metric);
    }
}

// Rows that float32 cannot tell apart, though their exact keys differ.
TEST_F(CudaBackendTest, SearchedLabelsAreThoseThatFloatsGive) {
    const CudaBackend backend(searching());
    Random random(13);
    for (const double width : {1e-3, 1e-6, 1e-7}) {
        const Matrix x(40, 24, random, 5);
        Matrix rows(200, 24);  // more than there is room for
        for (size_t i = 0; i < rows.rows; ++i) {
            for (size_t j = 0; j < 24; ++j)
                rows.row(i)[j] = static_cast<float>(1 + width * random.normal());
        }
        for (const Metric metric : {Metric::L2, Metric::InnerProduct})
            expect_same_labels(backend, x.view(), rows.view(), metric);
    }
}

TEST_F(CudaBackendTest, SearchedRowsAreRoundedOnceWhileTheyAreKept) {
    const CudaBackend backend(searching());
    Random random(14);
    const Matrix x(30, 8, random), rows(100, 8, random);
    const auto kept_rows = backend.keep(rows.view());
    expect_same_labels(backend, x.view(), rows.view(), Metric::L2);
    const uint64_t before = simt::counters().launches;
    const Assigned found = assigned(backend, x.view(), rows.view(), Metric::L2);
    const uint64_t kept = simt::counters().launches - before;
    const CudaBackend other(searching());
    EXPECT_EQ(assigned(other, x.view(), rows.view(), Metric::L2).labels, found.labels);
    EXPECT_EQ(simt::counters().launches - before, 2 * kept + 2);  // measured, rounded
}

size_t threads_of_process() {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return static_cast<size_t>(std::distance(begin(tasks), end(tasks)));
}

// In a thread of its own, for which no others are waiting.
TEST_F(CudaBackendTest, SearchedRowsAreReadByNoMoreThreadsThanTheCaller) {
    Random random(15);
    const Matrix x(1, 4, random), rows(2100, 4, random);  // more than a task reads
    const CudaBackend backend(searching()), keeping(searching());
    const auto kept = keeping.keep(rows.view());
    std::thread([&] {
        for (const CudaBackend* const each : {&backend, &keeping}) {
            const size_t before = threads_of_process();
            assigned(*each, x.view(), rows.view(), Metric::L2, 1);
            EXPECT_EQ(threads_of_process(), before);
        }
    }).join();
}

TEST_F(CudaBackendTest, TheFirstOfEqualRowsWins) {
    const CudaBackend backend(on_device());
    Random random(3);
    for (const size_t d : Sizes{1, 3, 20}) {
        const Matrix x = grid_matrix(200, d, random), rows = grid_matrix(300, d, random);
        for (const Metric metric : {Metric::L2, Metric::InnerProduct})
            expect_same_labels(backend, x.view(), rows.view(), metric);
    }
}

TEST_F(CudaBackendTest, NumbersThatAreNoneNameARowToo) {
    const CudaBackend direct(on_device()), by_search(searching());
    Random random(4);
    for (const size_t rows : Sizes{5, 200, 201, 202}) {
        const CudaBackend& backend = rows > 200 ? by_search : direct;
        Matrix centroids(rows, 4, random);
        if (rows == 202) centroids.row(7)[1] = std::numeric_limits<float>::infinity();
        Matrix x(6, 4, random);
        x.row(0)[1] = std::numeric_limits<float>::infinity();
        x.row(1)[2] = std::nanf("");
        std::fill_n(x.row(2), 4, 3e38f);
        std::fill_n(x.row(3), 4, 1e-30f);
        std::fill_n(x.row(4), 4, 0.0f);
        for (const Metric metric : {Metric::L2, Metric::InnerProduct}) {
            EXPECT_EQ(assigned(backend, x.view(), centroids.view(), metric).labels,
                      assigned(cpu_backend(), x.view(), centroids.view(), metric).labels);
        }
    }
}

TEST_F(CudaBackendTest, RotationsHaveTheBitsOfTheCpu) {
    const CudaBackend backend(on_device());
    Random random(5);
    for (const size_t d : Sizes{1, 2, 3, 8, 12, 31, 64, 100, 200}) {
        const FastRotation rotation(d, d);
        const Matrix x(40, d, random, 0, 2);
        for (const bool inverse : {false, true}) {
            Matrix expected(40, d, 1), found(40, d, 1);
            const float* const factors = rotation.factors().data();
            cpu_backend().rotate(x.view(), factors, inverse, expected.view(), 1);
            const uint64_t before = simt::counters().launches;
            backend.rotate(x.view(), factors, inverse, found.view(), 1);
            EXPECT_GT(simt::counters().launches, before);
            EXPECT_TRUE(same_bits(found.data, expected.data)) << d << ' ' << inverse;
        }
    }
}

// Of more shared memory than a block has without asking, and of more than it can have.
TEST_F(CudaBackendTest, LongRowsAreRotated) {
    const CudaBackend backend(on_device(size_t{1} << 20));
    Random random(6);
    for (const size_t d : Sizes{12300, 60000}) {
        const FastRotation rotation(d, 1);
        const Matrix x(2, d, random);
        Matrix expected(2, d), found(2, d);
        cpu_backend().rotate(x.view(), rotation.factors().data(), false, expected.view(), 1);
        backend.rotate(x.view(), rotation.factors().data(), false, found.view(), 1);
        EXPECT_TRUE(same_bits(found.data, expected.data)) << d;
        EXPECT_EQ(simt::counters().launches, 1u);  // the second is the CPU's
    }
}

TEST_F(CudaBackendTest, LinearMapsTakeLargeSlices) {
    const CudaBackend backend(on_device(size_t{1} << 20));
    Random random(7);
    std::vector<float> matrix(12 * 20), bias(12);
    for (float& value : matrix)
        value = static_cast<float>(random.normal());
    for (float& value : bias)
        value = static_cast<float>(random.normal());
    const LinearMap map(20, 12, matrix, bias);
    const Matrix x(300, 20, random);
    Matrix expected(300, 12), found(300, 12);
    map.apply(x.view(), expected.view(), cpu_backend(), 1);
    map.apply(x.view(), found.view(), backend, 1);
    EXPECT_TRUE(same_bits(found.data, expected.data));
    EXPECT_EQ(simt::counters().launches, 1u);
}

TEST_F(CudaBackendTest, SmallBatchesAreTheCpus) {
    const CudaBackend backend;
    Random random(8);
    const Matrix x(50, 8, random), rows(20, 8, random);
    const Assigned found = assigned(backend, x.view(), rows.view(), Metric::L2);
    EXPECT_EQ(found.labels, assigned(cpu_backend(), x.view(), rows.view(), Metric::L2).labels);
    EXPECT_EQ(simt::counters().launches, 0u);
    EXPECT_EQ(backend.key(x.row(0), rows.row(0), 8, Metric::L2),
              cpu_backend().key(x.row(0), rows.row(0), 8, Metric::L2));
    EXPECT_EQ(backend.describe(), "cuda:0 sm_90 + " + cpu_backend().describe());
    backend.assign({x.data.data(), 0, 8}, rows.view(), Metric::L2, nullptr, nullptr, 1);
}

TEST_F(CudaBackendTest, IsTheSameInAnyOrder) {
    Random random(9);
    const Matrix x = grid_matrix(200, 18, random), rows = grid_matrix(140, 18, random);
    const FastRotation rotation(18, 1);
    Matrix rotated(200, 18), again(200, 18);
    cpu_backend().rotate(x.view(), rotation.factors().data(), false, rotated.view(), 1);
    const Assigned expected = assigned(cpu_backend(), x.view(), rows.view(), Metric::L2);
    for (uint64_t seed = 1; seed <= 4; ++seed) {
        start_in_order(seed);
        const CudaBackend backend(on_device());
        const Assigned found = assigned(backend, x.view(), rows.view(), Metric::L2);
        EXPECT_EQ(found.labels, expected.labels) << "seed " << seed;
        EXPECT_TRUE(same_bits(found.keys, expected.keys)) << "seed " << seed;
        backend.rotate(x.view(), rotation.factors().data(), false, again.view(), 1);
        EXPECT_TRUE(same_bits(again.data, rotated.data)) << "seed " << seed;
    }
}

// Whether anything is wrong without a line that orders threads.
bool is_noticed(const simt::Site& without, const Matrix& x, const Matrix& rows,
                const Assigned& expected, const std::vector<float>& rotated) {
    simt::reset();
    simt::config().without = without;
    try {
        const CudaBackend backend(on_device());
        if (assigned(backend, x.view(), rows.view(), Metric::L2).labels != expected.labels)
            return true;
        Matrix out(x.rows, x.cols);
        backend.rotate(x.view(), FastRotation(x.cols, 1).factors().data(), false, out.view(), 1);
        return !same_bits(out.data, rotated);
    } catch (const simt::FaultError&) {
        return true;
    }
}

TEST_F(CudaBackendTest, NoticesEveryMissingBarrier) {
    Random random(10);
    const Matrix x(130, 40, random), rows(140, 40, random);
    const CudaBackend backend(on_device());
    const Assigned expected = assigned(backend, x.view(), rows.view(), Metric::L2);
    Matrix rotated(x.rows, x.cols);
    backend.rotate(x.view(), FastRotation(40, 1).factors().data(), false, rotated.view(), 1);
    size_t barriers = 0;
    for (const simt::Site& site : simt::sites()) {
        if (site.kind != simt::SiteKind::BlockBarrier && site.kind != simt::SiteKind::WarpBarrier &&
            site.kind != simt::SiteKind::AsyncWait)
            continue;
        ++barriers;
        EXPECT_TRUE(is_noticed(site, x, rows, expected, rotated.data))
            << site.file << ':' << site.line;
    }
    EXPECT_EQ(barriers, 7u);
}

TEST_F(CudaBackendTest, CallsOfSeveralThreadsAreSafe) {
    const CudaBackend backend(on_device());
    Random random(11);
    const Matrix x(150, 12, random), rows(40, 12, random);
    const Assigned expected = assigned(cpu_backend(), x.view(), rows.view(), Metric::L2);
    std::vector<Assigned> found(4);
    std::vector<std::thread> threads;
    for (Assigned& mine : found) {
        threads.emplace_back([&] { mine = assigned(backend, x.view(), rows.view(), Metric::L2); });
    }
    for (std::thread& thread : threads)
        thread.join();
    for (const Assigned& mine : found)
        EXPECT_EQ(mine.labels, expected.labels);
}

}  // namespace
}  // namespace nearcell::gpu
