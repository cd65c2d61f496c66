// Metric: keys order every metric the same way, names and values are fixed (files hold the values).
#include <nearcell/core/metric.h>

#include <gtest/gtest.h>

#include <cmath>

namespace nearcell {
namespace {

constexpr Metric kMetrics[] = {Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1};

TEST(Metric, KeysAreSmallerForNearer) {
    for (const Metric metric : kMetrics) {
        const bool similarity = metric == Metric::InnerProduct || metric == Metric::Cosine;
        EXPECT_EQ(is_similarity(metric), similarity);
        for (const float near : {-2.0f, 0.0f, 3.5f}) {
            const float far = similarity ? near - 1 : near + 1;
            EXPECT_LT(key_from_score(metric, near), key_from_score(metric, far));
            EXPECT_EQ(score_from_key(metric, key_from_score(metric, near)), near);
        }
        EXPECT_TRUE(std::isfinite(worst_score(metric)));
        EXPECT_GT(key_from_score(metric, worst_score(metric)), 1e38f);
    }
}

TEST(Metric, NamesAreInverse) {
    for (const Metric metric : kMetrics)
        EXPECT_EQ(metric_from_name(metric_name(metric)), metric);
    EXPECT_EQ(metric_from_name("L2"), std::nullopt);
    EXPECT_EQ(metric_from_name(""), std::nullopt);
    EXPECT_EQ(metric_name(Metric::InnerProduct), "ip");
}

TEST(Metric, ValuesInFilesAreFixed) {
    for (int i = 0; i < 4; ++i)
        EXPECT_EQ(static_cast<int>(kMetrics[i]), i);
}

}  // namespace
}  // namespace nearcell
