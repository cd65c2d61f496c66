#include <nearcell/kernels/coarse_rows.h>

#include <gtest/gtest.h>

#include <cmath>

#include "backend_case.h"

namespace nearcell {
namespace {

// Value j of row i, as it lies in the blocks.
int16_t integer(const CoarseRows& rows, size_t i, size_t j) {
    const uint32_t* lane = rows.blocks() + i / kBlock * rows.block_words() + i % kBlock;
    const auto byte = [&](size_t line) { return lane[line * kBlock] >> (j % 4 * 8) & 255u; };
    return static_cast<int16_t>(byte(j / 4 * 2) << 8 | byte(j / 4 * 2 + 1));
}

TEST(CoarseRows, MovesRowsByTheirMeanForL2) {
    Random random(8);
    checks::Matrix x(21, 5, random);
    for (size_t i = 0; i < x.rows; ++i)
        x.row(i)[2] += 3000;
    const CoarseRows rows(x.view(), Metric::L2);
    ASSERT_EQ(rows.center().size(), 5u);
    EXPECT_NEAR(rows.center()[2], 3000, 1);
    double longest = 0;
    for (size_t i = 0; i < x.rows; ++i) {
        double square = 0;
        for (size_t j = 0; j < 5; ++j) {
            const float moved = x.row(i)[j] - rows.center()[j];
            EXPECT_EQ(integer(rows, i, j), std::lrint(moved * rows.scale()));
            square += static_cast<double>(moved) * static_cast<double>(moved);
        }
        EXPECT_FLOAT_EQ(rows.squares()[i], static_cast<float>(square));
        longest = std::max(longest, std::sqrt(square));
    }
    EXPECT_DOUBLE_EQ(rows.largest_norm(), longest);
    for (size_t lane = x.rows; lane < rows.squares().size(); ++lane)
        EXPECT_EQ(rows.squares()[lane], std::numeric_limits<float>::infinity());
}

TEST(CoarseRows, LeavesRowsWhereTheyAreForInnerProducts) {
    Random random(9);
    const checks::Matrix x(3, 4, random);
    const CoarseRows rows(x.view(), Metric::InnerProduct);
    EXPECT_TRUE(rows.center().empty());
    EXPECT_TRUE(rows.squares().empty());
    EXPECT_EQ(integer(rows, 1, 2), std::lrint(x.row(1)[2] * rows.scale()));
    EXPECT_FLOAT_EQ(rows.scale() * static_cast<float>(rows.largest_norm()), 32000);
}

TEST(CoarseRows, KeepsNoIntegersOfLengthsThatAreOutOfRange) {
    Random random(10);
    checks::Matrix x(20, 3, random);
    x.row(4)[1] = 1e30f;
    EXPECT_EQ(CoarseRows(x.view(), Metric::L2).blocks(), nullptr);
    const checks::Matrix zeros(2, 3);
    EXPECT_EQ(CoarseRows(zeros.view(), Metric::L2).blocks(), nullptr);
}

}  // namespace
}  // namespace nearcell
