#include <nearcell/quantize/centroid_order.h>

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include <nearcell/core/random.h>

namespace nearcell {
namespace {

// Mean distance of rows that are numbered one after the other.
double mean_step(const std::vector<float>& x, size_t d, const std::vector<size_t>& order) {
    double sum = 0;
    for (size_t i = 1; i < order.size(); ++i) {
        double square = 0;
        for (size_t j = 0; j < d; ++j) {
            const double gap = static_cast<double>(x[order[i] * d + j]) -
                               static_cast<double>(x[order[i - 1] * d + j]);
            square += gap * gap;
        }
        sum += std::sqrt(square);
    }
    return sum / static_cast<double>(order.size() - 1);
}

TEST(CentroidOrder, IsAPermutationThatKeepsNeighboursTogether) {
    Random random(2);
    for (const size_t n : std::initializer_list<size_t>{0, 1, 2, 3, 17, 500, 4099}) {
        constexpr size_t kDim = 3;
        std::vector<float> x(n * kDim);
        for (float& value : x)
            value = static_cast<float>(random.normal());
        const MatrixView<const float> rows(x.data(), n, kDim);
        std::vector<size_t> order = centroid_order(rows, 1), numbers(n);
        EXPECT_EQ(order, centroid_order(rows, 3));
        for (size_t i = 0; i < n; ++i)
            numbers[i] = i;
        if (n >= 500) {
            EXPECT_LT(mean_step(x, kDim, order), 0.5 * mean_step(x, kDim, numbers));
        }
        std::sort(order.begin(), order.end());
        EXPECT_EQ(order, numbers);
    }
}

TEST(CentroidOrder, BearsEqualAndHugeRows) {
    const std::vector<float> same(40 * 4, 1.5f), huge(40 * 4, 3e38f);
    EXPECT_EQ(centroid_order({same.data(), 40, 4}, 1).size(), 40u);
    EXPECT_EQ(centroid_order({huge.data(), 40, 4}, 1).size(), 40u);
    Random random(3);
    for (const float scale : {3e38f, 1e19f, 1e-20f, 1e-45f}) {
        std::vector<float> x(1100 * 5);
        for (float& value : x)
            value = scale * static_cast<float>(2 * random.uniform() - 1);
        std::vector<size_t> order = centroid_order({x.data(), 1100, 5}, 2);
        std::sort(order.begin(), order.end());
        for (size_t i = 0; i < order.size(); ++i)
            ASSERT_EQ(order[i], i) << scale;
    }
}

// Rows on a line come in its order, or halves of it turned round, wherever the line is.
TEST(CentroidOrder, HalvesALineFarFromTheOrigin) {
    constexpr size_t kRows = 2048, kDim = 9;
    for (const float offset : {0.0f, 1000.0f}) {
        std::vector<float> x(kRows * kDim);
        for (size_t i = 0; i < kRows; ++i) {  // 1021 is prime to the number of rows
            for (size_t j = 0; j < kDim; ++j)
                x[i * kDim + j] =
                    offset + static_cast<float>(i * 1021 % kRows) * static_cast<float>(j + 1) / 256;
        }
        const std::vector<size_t> order = centroid_order({x.data(), kRows, kDim}, 2);
        for (size_t part = kRows / 2; part >= 2; part /= 2) {
            for (size_t first = 0; first < kRows; first += part) {
                size_t least = kRows, most = 0;
                for (size_t i = first; i < first + part; ++i) {
                    least = std::min(least, order[i] * 1021 % kRows);
                    most = std::max(most, order[i] * 1021 % kRows);
                }
                ASSERT_EQ(most - least, part - 1) << offset << " " << part << " " << first;
            }
        }
    }
}

}  // namespace
}  // namespace nearcell
