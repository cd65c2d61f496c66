// Random: the published splitmix64 sequence, ranges, and distributions that are roughly right.
#include <nearcell/core/random.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace nearcell {
namespace {

TEST(Random, IsSplitmix64) {
    Random random(1234567);
    for (const uint64_t expected : {6457827717110365317ull, 3203168211198807973ull,
                                    9817491932198370423ull, 4593380528125082431ull}) {
        EXPECT_EQ(random.next(), expected);
    }
}

TEST(Random, BelowCoversItsRangeEvenly) {
    Random random(1);
    for (const uint64_t bound : {1ull, 2ull, 7ull, 100ull}) {
        std::vector<size_t> counts(bound);
        const size_t draws = 2000 * bound;
        for (size_t i = 0; i < draws; ++i) {
            const uint64_t value = random.below(bound);
            ASSERT_LT(value, bound);
            ++counts[value];
        }
        for (const size_t count : counts)
            EXPECT_NEAR(static_cast<double>(count), 2000.0, 250.0);
    }
    for (int i = 0; i < 1000; ++i)
        ASSERT_LT(random.below(~0ull), ~0ull);
}

TEST(Random, UniformAndNormalHaveTheirMoments) {
    Random random(2);
    double uniform = 0, mean = 0, square = 0;
    constexpr int kDraws = 100000;
    for (int i = 0; i < kDraws; ++i) {
        const double u = random.uniform();
        ASSERT_GE(u, 0.0);
        ASSERT_LT(u, 1.0);
        const double x = random.normal();
        ASSERT_TRUE(std::isfinite(x));
        uniform += u / kDraws;
        mean += x / kDraws;
        square += x * x / kDraws;
    }
    EXPECT_NEAR(uniform, 0.5, 0.01);
    EXPECT_NEAR(mean, 0.0, 0.02);
    EXPECT_NEAR(square, 1.0, 0.03);
}

TEST(Random, SamplesAreDistinctSeededAndUnbiased) {
    std::vector<size_t> chosen(20);
    for (uint64_t seed = 0; seed < 4000; ++seed) {
        Random random(seed), again(seed);
        const std::vector<size_t> sample = random_sample(20, 5, random);
        ASSERT_EQ(sample, random_sample(20, 5, again));
        std::vector<size_t> sorted = sample;
        std::sort(sorted.begin(), sorted.end());
        Random third(seed);
        ASSERT_EQ(sorted, sorted_sample(20, 5, third));
        ASSERT_EQ(std::set<size_t>(sample.begin(), sample.end()).size(), 5u);
        for (const size_t i : sample) {
            ASSERT_LT(i, 20u);
            ++chosen[i];
        }
    }
    for (const size_t count : chosen)
        EXPECT_NEAR(static_cast<double>(count), 1000.0, 150.0);
    Random random(3);
    std::vector<size_t> all = random_sample(50, 50, random);
    EXPECT_FALSE(std::is_sorted(all.begin(), all.end()));
    std::sort(all.begin(), all.end());
    for (size_t i = 0; i < 50; ++i)
        EXPECT_EQ(all[i], i);
    EXPECT_TRUE(random_sample(0, 0, random).empty());
}

}  // namespace
}  // namespace nearcell
