#include <nearcell/kernels/coarse_rows.h>

#include <gtest/gtest.h>

#include "backend_case.h"

namespace nearcell {
namespace {

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
        const float* block = rows.blocks().block(i / kBlock);
        double square = 0;
        for (size_t j = 0; j < 5; ++j) {
            const float moved = block[j * kBlock + i % kBlock];
            EXPECT_EQ(moved, x.row(i)[j] - rows.center()[j]);
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
    EXPECT_EQ(rows.blocks().block(0)[2 * kBlock + 1], x.row(1)[2]);
}

}  // namespace
}  // namespace nearcell
