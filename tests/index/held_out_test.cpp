// Held-out rows: a seeded split of all rows, and copies of rows as they are.
#include <nearcell/index/held_out.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include <nearcell/core/error.h>

namespace nearcell {
namespace {

TEST(HeldOut, SplitsAllRows) {
    for (const size_t rows : {20u, 999u, 30000u}) {
        const HeldOut parts = hold_out(rows, 7);
        EXPECT_EQ(parts.queries.size(), std::min<size_t>(rows / 10, 2000));
        std::vector<int64_t> all = parts.queries;
        all.insert(all.end(), parts.rest.begin(), parts.rest.end());
        EXPECT_TRUE(std::is_sorted(parts.queries.begin(), parts.queries.end()));
        EXPECT_TRUE(std::is_sorted(parts.rest.begin(), parts.rest.end()));
        std::sort(all.begin(), all.end());
        ASSERT_EQ(all.size(), rows);
        for (size_t i = 0; i < rows; ++i)
            EXPECT_EQ(all[i], static_cast<int64_t>(i));
    }
    EXPECT_EQ(hold_out(500, 7).queries, hold_out(500, 7).queries);
    EXPECT_NE(hold_out(500, 7).queries, hold_out(500, 8).queries);
    EXPECT_THROW(hold_out(19, 7), Error);
}

TEST(HeldOut, LargerSamplesIncludeSmaller) {
    const std::vector<int64_t> rows{3, 5, 8, 13, 21, 34, 55};
    const std::vector<int64_t> few = sample_rows(rows, 3, 1), more = sample_rows(rows, 5, 1);
    EXPECT_EQ(few.size(), 3u);
    EXPECT_TRUE(std::includes(rows.begin(), rows.end(), more.begin(), more.end()));
    EXPECT_TRUE(std::includes(more.begin(), more.end(), few.begin(), few.end()));
    EXPECT_EQ(sample_rows(rows, rows.size(), 1), rows);
}

TEST(HeldOut, CopiesRowsInTheirType) {
    const std::vector<uint8_t> values{0, 1, 99, 10, 11, 99, 20, 21, 99};
    Vectors from(values.data(), ElementType::UInt8, 3, 2);
    from.stride = 3;
    const VectorData copy = copy_rows(from, std::vector<int64_t>{2, 0});
    EXPECT_EQ(copy.type, ElementType::UInt8);
    EXPECT_EQ(copy.rows, 2u);
    EXPECT_EQ(copy.cols, 2u);
    const std::vector<uint8_t> expected{20, 21, 0, 1};
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), copy.bytes.data()));
    EXPECT_EQ(copy_rows(from, {}).rows, 0u);
}

}  // namespace
}  // namespace nearcell
