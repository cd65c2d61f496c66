// ClusterRows against a plain grouping, for any number of threads.
#include <nearcell/quantize/cluster_rows.h>

#include <gtest/gtest.h>

#include <vector>

#include <nearcell/core/random.h>

namespace nearcell {
namespace {

void expect_grouped(const std::vector<uint32_t>& labels, size_t cells) {
    std::vector<std::vector<uint32_t>> expected(cells);
    for (size_t i = 0; i < labels.size(); ++i)
        expected[labels[i]].push_back(static_cast<uint32_t>(i));
    ClusterRows groups;
    for (const int threads : {1, 2, 5}) {
        groups.group(labels, cells, threads);
        ASSERT_EQ(groups.clusters(), cells);
        for (size_t c = 0; c < cells; ++c) {
            const std::span<const uint32_t> rows = groups.rows(c);
            ASSERT_EQ(std::vector<uint32_t>(rows.begin(), rows.end()), expected[c])
                << "cell " << c << " of " << cells << ", " << threads << " threads";
        }
    }
}

TEST(ClusterRows, AreThoseOfAPlainGrouping) {
    Random random(11);
    for (const size_t cells : {1u, 2u, 9u, 300u}) {
        for (const size_t rows : {0u, 1u, 17u, 1000u, 6001u}) {
            std::vector<uint32_t> labels(rows);
            for (uint32_t& label : labels)
                label = static_cast<uint32_t>(random.below(cells));
            expect_grouped(labels, cells);
        }
    }
    expect_grouped(std::vector<uint32_t>(500, 3), 5);  // all but one are empty
}

}  // namespace
}  // namespace nearcell
