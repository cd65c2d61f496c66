// SearchResult: an empty one, and sizes that cannot be.
#include <nearcell/core/search_result.h>

#include <gtest/gtest.h>

#include <string>

#include <nearcell/core/error.h>

namespace nearcell {
namespace {

TEST(SearchResult, EmptyOnesHaveTheWorstScores) {
    const SearchResult result = empty_result(2, 3, Metric::Cosine);
    EXPECT_EQ(result.scores, std::vector<float>(6, worst_score(Metric::Cosine)));
    EXPECT_EQ(result.ids, std::vector<int64_t>(6, -1));
    EXPECT_EQ(result.counts, std::vector<size_t>(2, 0));
}

// Of which queries x k is 0 in 64 bits, too.
TEST(SearchResult, TooLargeOnesAreRefused) {
    for (const size_t k : {size_t{1} << 62, size_t{1} << 58, SIZE_MAX / 2}) {
        try {
            empty_result(4, k, Metric::L2);
            ADD_FAILURE() << k;
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), StatusCode::OutOfMemory);
            EXPECT_NE(std::string(error.what()).find("k = " + std::to_string(k)), std::string::npos)
                << error.what();
        }
    }
}

}  // namespace
}  // namespace nearcell
