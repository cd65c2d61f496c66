// The end of a coarse step by byte tiles: the nearest cells are those by exact keys, and rows are
// read where there is doubt.
#include <nearcell/gpu/kernels/settle_probes.cuh>

#include <set>

#include "settle_case.h"

namespace nearcell::gpu {
namespace {

using simt::config;

class SettleProbes : public simt::SimtTest {};

Settled probes(const SettleCase& data, size_t k, bool inexact, unsigned threads = kSelectThreads) {
    const std::vector<Candidates> none(data.lists.size());
    return settled_by(data, none, k, [&](const Settling& job, unsigned queries) {
        simt::launch({"settle_probes", queries, threads}, settle_probes_kernel(data.metric),
                     ProbeSettling{job, inexact});
    });
}

checks::ExactKey exact(const SettleCase& data, size_t q, unsigned place) {
    return checks::exact_key(data.metric, data.store.vector(place).data(), data.queries.row(q),
                             data.store.dim());
}
double key_of(uint64_t packed) {
    return static_cast<double>(std::bit_cast<float>(key_bits(packed)));
}

// They are as exact as others, but not the same bits.
void check_keys(const SettleCase& data, const Settled& result) {
    for (size_t q = 0; q < data.lists.size(); ++q) {
        EXPECT_TRUE(std::is_sorted(result.best[q].begin(), result.best[q].end()));
        for (const auto& [packed, place] : result.best[q]) {
            const checks::ExactKey key = exact(data, q, place);
            EXPECT_NEAR(key_of(packed), key.key, 1e-5 * key.magnitude);
            EXPECT_EQ(tag_of(packed), data.store.tag(place));
        }
    }
}

// The same cells as by exact keys, but for those that are equally near; keys lie in their
// intervals.
void check_cells(const SettleCase& data, const Settled& result, size_t k) {
    for (size_t q = 0; q < data.lists.size(); ++q) {
        std::vector<double> keys;
        double magnitude = 0;
        for (const auto& [interval, place] : data.lists[q]) {
            const checks::ExactKey key = exact(data, q, place);
            keys.push_back(key.key);
            magnitude = std::max(magnitude, key.magnitude);
        }
        std::sort(keys.begin(), keys.end());
        ASSERT_EQ(result.best[q].size(), std::min(k, keys.size()));
        EXPECT_TRUE(std::is_sorted(result.best[q].begin(), result.best[q].end()));
        std::set<unsigned> places;
        for (const auto& [packed, place] : result.best[q]) {
            EXPECT_LE(exact(data, q, place).key,
                      keys[result.best[q].size() - 1] + 1e-5 * magnitude);
            EXPECT_EQ(tag_of(packed), data.store.tag(place));
            places.insert(place);
            const auto of_place = [place = place](const Candidate& c) { return c.second == place; };
            const Candidates& list = data.lists[q];
            const uint64_t interval = std::find_if(list.begin(), list.end(), of_place)->first;
            EXPECT_LE(key_of(packed), key_of(interval) + 1e-5 * magnitude);
            EXPECT_GE(key_of(packed), static_cast<double>(std::bit_cast<float>(tag_of(interval))) -
                                          1e-5 * magnitude);
        }
        EXPECT_EQ(places.size(), result.best[q].size());
    }
}

// How many of the narrowed candidates overlap the k-th: what a kernel has to look at, at least.
size_t doubtful_ones(const SettleCase& data, size_t k) {
    size_t count = 0;
    for (const Candidates& list : data.lists) {
        std::vector<float> uppers, lowers;
        for (const auto& [interval, place] : list)
            uppers.push_back(std::bit_cast<float>(key_bits(interval)));
        if (uppers.size() <= k) continue;
        std::nth_element(uppers.begin(), uppers.begin() + static_cast<long>(k) - 1, uppers.end());
        const float limit = uppers[k - 1];
        std::vector<uint64_t> left;
        for (const auto& [interval, place] : list) {
            if (std::bit_cast<float>(tag_of(interval)) <= limit) left.push_back(interval);
        }
        if (left.size() == k) continue;
        for (const uint64_t interval : left)
            lowers.push_back(std::bit_cast<float>(tag_of(interval)));
        std::sort(lowers.begin(), lowers.end());
        for (const uint64_t interval : left)
            count += std::bit_cast<float>(key_bits(interval)) >= lowers[k];
    }
    return count;
}

TEST_F(SettleProbes, WithAllKeys) {
    Random random(1);
    for (const size_t dim : {1, 3, 4, 31, 32, 100, 128, 130, 260}) {
        for (const Metric metric : {Metric::L2, Metric::InnerProduct}) {
            const RandomCodes codes(CodeKind::Float32, dim, 0, {140}, false, random);
            const SettleCase data(codes, metric, false, {0, 1, 15, 17, 140}, 140, random);
            const unsigned threads = dim % 2 == 0 ? kSelectThreads : kMostSelectThreads;
            const bool is_short = dim <= kShortRow;
            const Settled result = probes(data, 140, is_short, threads);
            for (size_t q = 0; q < data.lists.size(); ++q)
                EXPECT_EQ(result.best[q].size(), data.lists[q].size());
            EXPECT_EQ(result.scored, 173u);
            check_keys(data, result);
            check_cells(data, result, 140);
        }
    }
}

TEST_F(SettleProbes, ReadsWhereThereIsDoubt) {
    Random random(2);
    for (const size_t dim : {129, 200, 515}) {
        for (const Metric metric : kProducts) {
            const RandomCodes codes(CodeKind::Float32, dim, 0, {1000, 700}, false, random);
            const std::vector<size_t> counts = {0, 1, 31, 32, 33, 150, 1024, 1600};
            const SettleCase data(codes, metric, false, counts, 1700, random);
            for (const size_t k : {1, 32, 128, 300}) {
                SCOPED_TRACE(testing::Message() << dim << " dimensions, k = " << k);
                const unsigned threads = k == 32 ? kMostSelectThreads : kSelectThreads;
                const Settled result = probes(data, k, true, threads);
                check_cells(data, result, k);
                if (HasFailure()) return;
                size_t left = 0;
                for (const Candidates& list : result.lists)
                    left += list.size();
                EXPECT_GE(result.scored, doubtful_ones(data, k));
                EXPECT_LT(result.scored, k == 128 ? left / 2 : left + 1);
            }
        }
    }
}

// Intervals that say nothing, points, and many of the same ends.
TEST_F(SettleProbes, OfAnyIntervals) {
    Random random(3);
    const RandomCodes codes(CodeKind::Float32, 140, 0, {400}, false, random);
    const auto packed = [](float low, float high) {
        return pack_key(high, std::bit_cast<unsigned>(low));
    };
    for (const Metric metric : {Metric::L2, Metric::InnerProduct}) {
        SettleCase data(codes, metric, false, {300, 300, 300, 300}, 300, random);
        for (size_t q = 0; q < data.lists.size(); ++q) {
            std::vector<float> keys;
            for (const auto& [interval, place] : data.lists[q])
                keys.push_back(static_cast<float>(exact(data, q, place).key));
            const auto [least, most] = std::minmax_element(keys.begin(), keys.end());
            for (size_t i = 0; i < keys.size(); ++i) {
                uint64_t& interval = data.lists[q][i].first;
                const float off = std::abs(keys[i]) * 0x1p-16f;
                if (q == 0) interval = packed(-kInfinity, kInfinity);
                if (q == 1) interval = packed(keys[i] - off, keys[i] + off);
                if (q == 2) interval = packed(*least - 1, i % 2 == 0 ? keys[i] + off : *most + 1);
                if (q == 3 && i % 3 == 0) interval = packed(-kInfinity, kInfinity);
            }
        }
        for (const size_t k : {5, 100, 299, 300, 400})
            check_cells(data, probes(data, k, true), k);
    }
}

TEST_F(SettleProbes, IsTheSameInEveryOrder) {
    Random random(4);
    const RandomCodes codes(CodeKind::Float32, 130, 0, {500}, false, random);
    const SettleCase data(codes, Metric::L2, false, {17, 60, 500}, 500, random);
    const std::vector<Candidates> expected = probes(data, 150, true).best;
    config().resident_blocks = 3;
    config().preempt_one_in = 100;
    simt::for_each_order([&] { EXPECT_EQ(probes(data, 150, true).best, expected); }, 2);
}

TEST_F(SettleProbes, NoticesEveryMissingBarrier) {
    Random random(5);
    const RandomCodes codes(CodeKind::Float32, 130, 0, {1400}, false, random);
    const SettleCase data(codes, Metric::L2, false, {17, 200, 600, 1350, 25, 60, 90}, 1400, random);
    const Settled many = probes(data, 150, true), few = probes(data, 20, true);
    const Settled exact = probes(data, 80, false);
    const auto is_right = [&] {
        return probes(data, 150, true).best == many.best &&
               probes(data, 20, true).best == few.best &&
               probes(data, 80, false).best == exact.best;
    };
    EXPECT_EQ(expect_barriers_needed(is_right), 15u);
}

}  // namespace
}  // namespace nearcell::gpu
