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

// By both of its ways: with a bit for each number, and without.
TEST(Random, SortedSamplesAreTheNumbersOfRandomSample) {
    for (const size_t total : std::initializer_list<size_t>{1, 63, 64, 65, 200, 5000, 30000}) {
        for (const size_t count : std::initializer_list<size_t>{0, 1, 2, 3, 31, 64, 130, 4999}) {
            if (count > total) continue;
            for (uint64_t seed = 0; seed < 20; ++seed) {
                Random random(seed), again(seed);
                std::vector<size_t> expected = random_sample(total, count, random);
                std::sort(expected.begin(), expected.end());
                ASSERT_EQ(sorted_sample(total, count, again), expected) << total << " " << count;
                if (count < total) {
                    ASSERT_EQ(random.next(), again.next());
                }
            }
        }
    }
    Random random(4);
    const std::vector<size_t> all = sorted_sample(1000, 1000, random);
    for (size_t i = 0; i < 1000; ++i)
        ASSERT_EQ(all[i], i);
    EXPECT_EQ(sorted_sample(1000, 999, random).size(), 999u);
    EXPECT_TRUE(sorted_sample(0, 0, random).empty());
}

TEST(Random, SortedSamplesAreUniform) {
    constexpr size_t kBuckets = 64;
    struct Case {
        size_t total, count;
    };
    for (const auto& [total, count] : {Case{1000000, 100000}, Case{1000000, 700000},
                                       Case{1000000, 990}, Case{size_t{1} << 41, 20000}}) {
        Random random(5);
        std::vector<double> counts(kBuckets);
        const std::vector<size_t> sample = sorted_sample(total, count, random);
        ASSERT_EQ(sample.size(), count);
        ASSERT_LT(sample.back(), total);
        for (size_t i = 0; i < count; ++i) {
            if (i > 0) {
                ASSERT_LT(sample[i - 1], sample[i]);
            }
            counts[sample[i] / ((total + kBuckets - 1) / kBuckets)] += 1;
        }
        // Without replacement counts vary less, by the factor of what is left.
        const double expected = static_cast<double>(count) / kBuckets;
        const double left = 1.0 - static_cast<double>(count) / static_cast<double>(total);
        double chi_square = 0;
        for (const double seen : counts)
            chi_square += (seen - expected) * (seen - expected) / (expected * left);
        EXPECT_GT(chi_square, 32.0) << total << " " << count;  // 0.0005 of each tail lies beyond
        EXPECT_LT(chi_square, 107.0) << total << " " << count;
    }
}

}  // namespace
}  // namespace nearcell
