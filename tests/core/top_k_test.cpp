// TopK against sorting everything: for any order of pushes, any split and any k.
#include <nearcell/core/top_k.h>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <utility>

#include <nearcell/core/random.h>

namespace nearcell {
namespace {

using Pairs = std::vector<std::pair<float, int64_t>>;

Pairs pairs(const std::vector<Candidate>& candidates) {
    Pairs result;
    for (const Candidate& candidate : candidates)
        result.emplace_back(candidate.key, candidate.id);
    return result;
}

// Few distinct keys, so that ties are common; ids are distinct.
std::vector<Candidate> random_candidates(size_t count, size_t distinct_keys, Random& random) {
    std::vector<Candidate> candidates(count);
    for (size_t i = 0; i < count; ++i) {
        candidates[i].key = static_cast<float>(random.below(distinct_keys)) - 3.0f;
        candidates[i].id = static_cast<int64_t>(i);
    }
    return candidates;
}

void shuffle(std::vector<Candidate>& candidates, Random& random) {
    for (size_t i = candidates.size(); i > 1; --i) {
        std::swap(candidates[i - 1], candidates[random.below(i)]);
    }
}

Pairs sorted_head(std::vector<Candidate> candidates, size_t k) {
    std::sort(candidates.begin(), candidates.end(), nearer);
    candidates.resize(std::min(k, candidates.size()));
    return pairs(candidates);
}

TEST(TopK, EqualsSortingForAnyOrderAndSplit) {
    Random random(1);
    for (int round = 0; round < 300; ++round) {
        const size_t count = random.below(400), k = 1 + random.below(round % 2 == 0 ? 10 : 300);
        std::vector<Candidate> candidates = random_candidates(count, 1 + random.below(40), random);
        const Pairs expected = sorted_head(candidates, k);
        shuffle(candidates, random);
        std::vector<TopK> parts(1 + random.below(4), TopK(k));
        for (const Candidate& candidate : candidates) {
            parts[random.below(parts.size())].push(candidate);
        }
        TopK merged(k);
        for (const TopK& part : parts)
            merged.merge(part);
        ASSERT_EQ(pairs(merged.sorted()), expected) << "count " << count << ", k " << k;
        ASSERT_EQ(pairs(merged.sorted()), expected) << "sorting twice";
    }
}

TEST(TopK, ThresholdNeverRefusesAMember) {
    Random random(2);
    for (int round = 0; round < 100; ++round) {
        const size_t k = 1 + random.below(20);
        const std::vector<Candidate> candidates = random_candidates(200, 30, random);
        const Pairs expected = sorted_head(candidates, k);
        TopK best(k);
        for (const Candidate& candidate : candidates) {
            best.push(candidate);
            ASSERT_GE(best.threshold(), expected.back().first);
        }
        EXPECT_EQ(best.threshold(), expected.back().first);
    }
}

TEST(TopK, IsOpenUntilItHoldsK) {
    TopK best(3);
    best.push({.key = 5, .id = 1});
    best.push({.key = 4, .id = 2});
    EXPECT_EQ(best.threshold(), std::numeric_limits<float>::infinity());
    best.push({.key = std::numeric_limits<float>::infinity(), .id = 3});
    EXPECT_EQ(pairs(best.sorted()).size(), 3u);
}

TEST(TopK, RefusesNan) {
    TopK best(2);
    best.push({.key = std::nanf(""), .id = 1});
    best.push({.key = 1, .id = 2});
    EXPECT_EQ(pairs(best.sorted()), (Pairs{{1.0f, 2}}));
}

TEST(TopK, KeepsNothingForZero) {
    TopK best(0);
    for (int64_t id = 0; id < 100; ++id)
        best.push({.key = 1, .id = id});
    EXPECT_TRUE(best.sorted().empty());
}

TEST(TopK, ResetForgets) {
    TopK best(2);
    for (int64_t id = 0; id < 100; ++id)
        best.push({.key = -1, .id = id});
    best.reset(3);
    EXPECT_EQ(best.k(), 3u);
    best.push({.key = 7, .id = 5});
    EXPECT_EQ(pairs(best.sorted()), (Pairs{{7.0f, 5}}));
}

}  // namespace
}  // namespace nearcell
