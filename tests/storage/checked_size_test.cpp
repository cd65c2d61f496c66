#include <nearcell/storage/checked_size.h>

#include <gtest/gtest.h>

namespace nearcell {
namespace {

TEST(CheckedSize, IsEmptyExactlyWhenSixtyFourBitsDoNotHoldIt) {
    constexpr uint64_t kMost = ~uint64_t{0};
    EXPECT_EQ(checked_sum(kMost - 1, 1), kMost);
    EXPECT_FALSE(checked_sum(kMost, 1));
    EXPECT_EQ(checked_product(uint64_t{1} << 32, (uint64_t{1} << 32) - 1), kMost - 0xffffffffu);
    EXPECT_FALSE(checked_product(uint64_t{1} << 32, uint64_t{1} << 32));
    EXPECT_FALSE(checked_product(kMost, 2, 0));  // as soon as a part does not fit
    EXPECT_EQ(checked_product(kMost, 0, 8), 0u);
    EXPECT_EQ(checked_product(uint64_t{3} << 30, 2, 8), uint64_t{48} << 30);
}

}  // namespace
}  // namespace nearcell
