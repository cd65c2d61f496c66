// Rows that stay on the device between calls, and the means that are taken of them there.
#include <nearcell/gpu/kept_rows.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "gpu/backend_support.h"

namespace nearcell::gpu {
namespace {

class KeptRowsTest : public CudaBackendTest {
   protected:
    const CudaBackend backend{on_device()};
};

std::vector<uint32_t> labels_of(const Backend& backend, MatrixView<const float> x,
                                MatrixView<const float> rows) {
    std::vector<uint32_t> labels(x.rows);
    backend.assign(x, rows, Metric::L2, labels.data(), nullptr, 1);
    return labels;
}

void spoil(Matrix& matrix) {
    std::fill(matrix.data.begin(), matrix.data.end(), std::numeric_limits<float>::quiet_NaN());
}

// What nobody may do shows what is read: after rows were kept, the caller's are spoiled.
TEST_F(KeptRowsTest, AreReadInsteadOfTheCallers) {
    Random random(1);
    for (const size_t gap : {0, 3}) {
        Matrix x(400, 12, random, 0, gap), rows(20, 12, random, 0, gap);
        const auto all = labels_of(cpu_backend(), x.view(), rows.view());
        const MatrixView<const float> part(x.data.data() + 100 * x.stride + 4, 200, 5, x.stride);
        const MatrixView<const float> part_rows(rows.data.data() + 4, 20, 5, rows.stride);
        const auto of_part = labels_of(cpu_backend(), part, part_rows);
        const auto of_one = labels_of(cpu_backend(), x.view().slice(399, 1), rows.view());
        auto kept = backend.keep(x.view()), kept_rows = backend.keep(rows.view());
        ASSERT_NE(kept, nullptr);
        const size_t before = simt::counters().device_bytes;
        const auto kept_part = backend.keep(part);  // is there already
        EXPECT_NE(kept_part, nullptr);
        EXPECT_EQ(simt::counters().device_bytes, before);
        spoil(x);
        spoil(rows);
        EXPECT_EQ(labels_of(backend, x.view(), rows.view()), all);
        EXPECT_EQ(labels_of(backend, part, part_rows), of_part);
        EXPECT_EQ(labels_of(backend, x.view().slice(399, 1), rows.view()), of_one);
        kept.reset();  // the part stays
        EXPECT_NE(labels_of(backend, x.view(), rows.view()), all);
        EXPECT_EQ(labels_of(backend, part, part_rows), of_part);
    }
}

TEST_F(KeptRowsTest, OtherRowsAreNotMistaken) {
    Random random(2);
    Matrix x(60, 12, random);
    const auto kept = backend.keep(x.view().slice(10, 40));
    const MatrixView<const float> others[] = {
        x.view().slice(0, 40),    // begins before
        x.view().slice(20, 40),   // ends behind
        {x.row(12), 15, 24},      // has longer rows
        {x.row(12) + 1, 20, 12},  // goes over the end of each row
        {x.row(12), 10, 6, 24},   // takes every other row
        {x.row(50), 1, 12},       // behind
    };
    const Matrix rows(16, 24, random);
    for (const MatrixView<const float>& other : others) {
        const MatrixView<const float> few(rows.data.data(), 16, other.cols, 24);
        EXPECT_EQ(labels_of(backend, other, few), labels_of(cpu_backend(), other, few));
        EXPECT_NE(backend.keep(other), kept);
    }
}

TEST_F(KeptRowsTest, GiveTheirMemoryBack) {
    Random random(3);
    const Matrix x(500, 8, random);
    auto kept = backend.keep(x.view());
    auto again = backend.keep(x.view());
    const size_t before = simt::counters().device_bytes;
    kept.reset();
    EXPECT_EQ(simt::counters().device_bytes, before);
    again.reset();
    EXPECT_EQ(simt::counters().device_bytes, before - 500 * 8 * sizeof(float));
    labels_of(backend, x.view(), x.view().slice(0, 30));
    EXPECT_EQ(simt::counters().device_bytes, 0u);  // calls leave nothing on the emulation
    EXPECT_EQ(backend.keep({x.data.data(), 0, 8}), nullptr);
}

TEST_F(KeptRowsTest, WhereThereIsNoRoomNothingIsKept) {
    Random random(4);
    const Matrix x(500, 8, random), rows(20, 8, random);
    simt::config().device_bytes = 30000;  // x has 16000: more than half
    EXPECT_EQ(CudaBackend(on_device(2000)).keep(x.view()), nullptr);
    EXPECT_NE(backend.keep(x.view()), nullptr);  // no more than a slice
    simt::config().device_bytes = 15000;
    EXPECT_EQ(backend.keep(x.view()), nullptr);
    simt::config().device_bytes = 30000;
    EXPECT_EQ(labels_of(CudaBackend(on_device(2000)), x.view(), rows.view()),
              labels_of(cpu_backend(), x.view(), rows.view()));
}

// Groups of any sizes, among them none and some that weigh nothing.
struct Grouped {
    std::vector<uint32_t> order;
    std::vector<size_t> begin = {0};

    Grouped(size_t rows, size_t groups, Random& random) : order(rows) {
        std::iota(order.begin(), order.end(), 0u);
        for (size_t i = rows - 1; i > 0; --i)
            std::swap(order[i], order[random.below(i + 1)]);
        for (size_t g = 1; g < groups; ++g)
            begin.push_back(std::min(rows, begin.back() + random.below(3) * random.below(20)));
        begin.push_back(rows);
    }
    RowGroups view() const { return {order.data(), begin.data(), begin.size() - 1}; }
};

TEST_F(KeptRowsTest, MeansHaveTheBitsOfTheCpu) {
    Random random(5);
    for (const size_t d : {1, 7, 130}) {
        Matrix x(200, d, random, 1, 2);
        std::vector<float> weights(x.rows);
        for (float& weight : weights)
            weight = random.below(4) == 0 ? 0.0f : static_cast<float>(random.uniform());
        for (size_t i = 0; i < 60; ++i)
            std::fill_n(x.row(i), d, 0.0f);
        const Grouped grouped(x.rows, 17, random);
        const auto kept = backend.keep(x.view());
        const float* const no_weights = nullptr;
        for (const float* const given : {no_weights, std::as_const(weights).data()}) {
            for (const bool unit : {false, true}) {
                const Matrix before(17, d, random, 0, 1);
                Matrix expected = before, found = before;
                cpu_backend().move_to_means(x.view(), given, grouped.view(), unit, expected.view(),
                                            1);
                const uint64_t launches = simt::counters().launches;
                backend.move_to_means(x.view(), given, grouped.view(), unit, found.view(), 1);
                EXPECT_GT(simt::counters().launches, launches);
                EXPECT_EQ(found.data, expected.data) << d << ' ' << unit;
            }
        }
    }
}

TEST_F(KeptRowsTest, MeansOfSomeGroupsAtATime) {
    Random random(6);
    const Matrix x(300, 20, random);
    const Grouped grouped(x.rows, 40, random);
    const CudaBackend sliced(on_device(1500));  // six groups
    const auto kept = sliced.keep(x.view());
    Matrix expected(40, 20), found = expected;
    cpu_backend().move_to_means(x.view(), nullptr, grouped.view(), false, expected.view(), 1);
    sliced.move_to_means(x.view(), nullptr, grouped.view(), false, found.view(), 1);
    EXPECT_EQ(found.data, expected.data);
}

TEST_F(KeptRowsTest, MeansOfOthersAreTheCpus) {
    Random random(7);
    const Matrix x(100, 4, random);
    const Grouped grouped(x.rows, 5, random);
    Matrix expected(5, 4), found = expected;
    cpu_backend().move_to_means(x.view(), nullptr, grouped.view(), false, expected.view(), 1);
    backend.move_to_means(x.view(), nullptr, grouped.view(), false, found.view(), 1);
    EXPECT_EQ(found.data, expected.data);
    EXPECT_EQ(simt::counters().launches, 0u);
}

}  // namespace
}  // namespace nearcell::gpu
