// The end of a search by byte tiles: keys have the bits of score_by_codes, and the best are those
// that sorting finds.
#include <nearcell/gpu/kernels/settle_lists.cuh>

#include "byte_case.h"
#include "lists_case.h"
#include "scan_case.h"

namespace nearcell::gpu {
namespace {

using checks::kAllKinds;
using simt::config;

class SettleLists : public simt::SimtTest {};

constexpr Metric kProducts[] = {Metric::L2, Metric::InnerProduct, Metric::Cosine};

// Vectors, queries, and lists of some places each with an interval that the key lies in.
struct SettleCase {
    Metric metric;
    StoredCase store;
    TiledCase tiles;
    Matrix queries;
    DeviceArray<float> values;
    size_t room;
    std::vector<Candidates> lists;  // packed intervals

    template <class Codes>
    SettleCase(const Codes& codes, Metric metric_, bool residual, const std::vector<size_t>& counts,
               size_t room_, Random& random)
        : metric(metric_),
          store(codes.view(), codes.cells, codes.centroids, residual, 9, false, random),
          tiles(store),
          queries(counts.size(), store.dim(), random),
          values(queries.data),
          room(room_) {
        std::vector<unsigned> all;
        for (const Chunk& chunk : store.chunks()) {
            const std::vector<unsigned> places = store.places_of(chunk);
            all.insert(all.end(), places.begin(), places.end());
        }
        for (size_t q = 0; q < counts.size(); ++q) {
            Candidates list;
            for (const size_t i : random_sample(all.size(), counts[q], random)) {
                const float key = store.key(metric, all[i], queries.row(q));
                const auto width = static_cast<float>(0.3 * random.uniform());
                list.push_back(
                    {pack_key(key + width, std::bit_cast<unsigned>(key - width)), all[i]});
            }
            lists.push_back(std::move(list));
        }
    }
    CodeScoring scoring(const KeyLists& device) const {
        return {tiles.stored(), store.cell_of_block(), device.lists(), values.data()};
    }
    uint64_t packed(size_t q, unsigned place) const {
        return pack_key(store.key(metric, place, queries.row(q)), store.tag(place));
    }
    // All that are wanted or held, in order.
    std::vector<Candidates> best(const std::vector<Candidates>& held, size_t k) const {
        std::vector<Candidates> result = held;
        for (size_t q = 0; q < lists.size(); ++q) {
            for (const Candidate& candidate : lists[q])
                result[q].push_back({packed(q, candidate.second), candidate.second});
            std::sort(result[q].begin(), result[q].end());
            result[q].resize(std::min(k, result[q].size()));
        }
        return result;
    }
};

// What is left when lists are settled.
struct Settled {
    std::vector<Candidates> best, lists;
    std::vector<float> limits;
    std::vector<unsigned> held, wanted;
    unsigned long long scored, crowded;
};

constexpr unsigned kThreads[] = {kSelectThreads, kMostSelectThreads};

Settled settled(const SettleCase& data, const std::vector<Candidates>& held, size_t k,
                bool by_lanes = false, unsigned threads = kSelectThreads) {
    const KeyLists lists(data.lists, data.room), best(held, k);
    std::vector<float> limits;
    for (const Candidates& list : held) {  // as rounds before would have left them
        const bool whole = list.size() == k;
        limits.push_back(whole ? std::bit_cast<float>(
                                     key_bits(std::max_element(list.begin(), list.end())->first))
                               : kInfinity);
    }
    const DeviceArray<float> device_limits(limits);
    const DeviceArray<unsigned> wanted(limits.size(), 3u);
    const DeviceArray<unsigned long long> scored(1, 0ull), crowded(1, 0ull);
    const CandidateLists held_lists = best.lists();
    const Settling job{data.scoring(lists),
                       {held_lists.keys, held_lists.places, held_lists.counts, k},
                       device_limits.data(),
                       wanted.data(),
                       scored.data(),
                       crowded.data(),
                       by_lanes};
    simt::launch({"settle_lists", lists.queries(), threads},
                 settle_lists_kernel(data.store.stored().code.kind, data.metric), job);
    if (k > kSettledKeys) {
        simt::launch({"sort_keys", lists.queries(), kSelectThreads}, sort_keys,
                     BestLists{held_lists.keys, held_lists.places, held_lists.counts, k});
    }
    return {best.held(),      lists.held(),        device_limits.to_host(), best.counts(),
            wanted.to_host(), scored.to_host()[0], crowded.to_host()[0]};
}

// Of places that are in no list.
std::vector<Candidates> draw_held(const SettleCase& data, size_t k, Random& random) {
    std::vector<Candidates> held;
    for (size_t q = 0; q < data.lists.size(); ++q) {
        Candidates list;
        for (size_t i = 0; i < (q % 3 == 2 ? k : q % 3 * k / 2); ++i) {
            const float key = data.store.key(data.metric, 0, data.queries.row(q)) +
                              static_cast<float>(random.normal());
            const auto place = static_cast<unsigned>(100000 + i);
            list.push_back({pack_key(key, place), place});
        }
        held.push_back(std::move(list));
    }
    return held;
}

void check_settled_by(unsigned threads, const SettleCase& data, const std::vector<Candidates>& held,
                      size_t k) {
    const Settled result = settled(data, held, k, false, threads);
    const std::vector<Candidates> expected = data.best(held, k);
    ASSERT_EQ(result.best, expected);
    unsigned long long scored = 0;
    for (size_t q = 0; q < held.size(); ++q) {
        EXPECT_EQ(result.held[q], expected[q].size());
        EXPECT_EQ(result.wanted[q], std::max<size_t>(3, data.lists[q].size()));
        if (expected[q].size() == k && !data.lists[q].empty()) {
            const float worst = std::bit_cast<float>(key_bits(expected[q].back().first));
            EXPECT_GE(result.limits[q], worst);
            EXPECT_TRUE(result.lists[q].empty() || result.limits[q] == worst);
        }
        scored += result.lists[q].size();
    }
    EXPECT_EQ(result.scored, scored);
    EXPECT_EQ(result.crowded, 0u);
}

void check_settled(const SettleCase& data, size_t k, Random& random) {
    const std::vector<Candidates> held = draw_held(data, k, random);
    for (const unsigned threads : kThreads) {
        SCOPED_TRACE(testing::Message() << threads << " threads");
        check_settled_by(threads, data, held, k);
    }
}

// Calls use(data, kind) with codes of every kind, and each metric, in lists of so many.
template <class Use>
void for_every_kind(const std::vector<size_t>& counts, size_t room, Random& random,
                    const Use& use) {
    uint64_t turn = 0;
    for (const CodeKind kind : kAllKinds) {
        if (kind == CodeKind::Bits) continue;
        for (const Metric metric : kProducts) {
            SCOPED_TRACE(testing::Message()
                         << "kind " << static_cast<int>(kind) << ", " << metric_name(metric));
            config().seed = ++turn;
            const size_t dim = 1 + random.below(150);
            const bool centroids = turn % 3 != 0, residual = turn % 3 == 1;
            const RandomCodes codes(kind, dim, 0, {64, 16, 90}, centroids, random);
            use(SettleCase(codes, metric, residual, counts, room, random), kind);
        }
    }
}

TEST_F(SettleLists, OfEveryKind) {
    Random random(1);
    uint64_t turn = 0;
    const std::vector<size_t> counts = {0, 1, 16, 17, 100, 130, 170};
    for_every_kind(counts, 170, random, [&](const SettleCase& data, CodeKind) {
        check_settled(data, ++turn % 4 == 0 ? 3 : 10, random);
    });
    EXPECT_EQ(settle_lists_kernel(CodeKind::Bits, Metric::L2), nullptr);
}

// Ranked at once, selected and ranked, sorted in shared memory and in place.
TEST_F(SettleLists, OfAnyNumberThatIsWanted) {
    Random random(2);
    const RandomCodes codes(CodeKind::Float16, 6, 0, {1500}, false, random);
    for (const size_t k : {1, 100, 128, 129, 256, 257, 600, 1100}) {
        const SettleCase data(codes, Metric::L2, false, {3, 100, 128, 129, 600, 1100, 1400}, 1400,
                              random);
        check_settled(data, k, random);
    }
}

// Of whose dimensions and words only some are looked at together.
TEST_F(SettleLists, OfLongCodes) {
    Random random(3);
    uint64_t turn = 0;
    for (const CodeKind kind : kAllKinds) {
        if (kind == CodeKind::Bits) continue;
        for (const size_t dim : {127, 128, 129, 255, 1030, 2100}) {
            SCOPED_TRACE(testing::Message()
                         << "kind " << static_cast<int>(kind) << ", dim " << dim);
            const bool residual = ++turn % 2 == 0;
            const RandomCodes codes(kind, dim, 0, {40, 20}, residual, random);
            const Metric metric = kProducts[turn % 3];
            const SettleCase data(codes, metric, residual, {19, 60}, 60, random);
            check_settled(data, 5, random);
            if (HasFatalFailure()) return;
        }
    }
}

// Then keys are as exact as others, but not the same bits.
TEST_F(SettleLists, ByLanes) {
    Random random(4);
    for (const size_t dim : {1, 3, 4, 31, 32, 100, 130}) {
        for (const Metric metric : {Metric::L2, Metric::InnerProduct}) {
            const RandomCodes codes(CodeKind::Float32, dim, 0, {140}, false, random);
            const SettleCase data(codes, metric, false, {0, 1, 15, 17, 140}, 140, random);
            const std::vector<Candidates> none(data.lists.size());
            const Settled result = settled(data, none, 140, true, kThreads[dim % 2]);
            for (size_t q = 0; q < none.size(); ++q) {
                ASSERT_EQ(result.best[q].size(), data.lists[q].size());
                EXPECT_TRUE(std::is_sorted(result.best[q].begin(), result.best[q].end()));
                for (const auto& [packed, place] : result.best[q]) {
                    const checks::ExactKey exact = checks::exact_key(
                        metric, data.store.vector(place).data(), data.queries.row(q), dim);
                    const auto key = static_cast<double>(std::bit_cast<float>(key_bits(packed)));
                    EXPECT_NEAR(key, exact.key, 1e-5 * exact.magnitude);
                    EXPECT_EQ(tag_of(packed), data.store.tag(place));
                }
            }
        }
    }
}

// They are left for the host to ask again, with a limit that is right.
TEST_F(SettleLists, OfMoreThanThereIsRoomFor) {
    Random random(5);
    const RandomCodes codes(CodeKind::RangeInt8, 20, 0, {200}, false, random);
    const SettleCase data(codes, Metric::L2, false, {40, 150, 101}, 100, random);
    const std::vector<Candidates> none(3);
    const Settled result = settled(data, none, 10);
    const std::vector<Candidates> expected = data.best(none, 10);
    EXPECT_EQ(result.best[0], expected[0]);
    EXPECT_EQ(result.crowded, 2u);
    EXPECT_EQ(result.wanted, (std::vector<unsigned>{40, 150, 101}));
    for (const size_t q : {1, 2}) {
        EXPECT_TRUE(result.best[q].empty());
        EXPECT_GE(result.limits[q], std::bit_cast<float>(key_bits(expected[q].back().first)));
        EXPECT_LT(result.limits[q], kInfinity);
    }
}

// Keys alone, of all kinds and lists.
TEST_F(SettleLists, ScoresInRows) {
    Random random(6);
    const std::vector<size_t> counts = {0, 1, 16, 100, 130};
    for_every_kind(counts, 100, random, [](const SettleCase& data, CodeKind kind) {
        const KeyLists lists(data.lists, data.room);
        const std::vector<Candidates> before = lists.held();
        simt::launch({"score_in_rows", lists.queries(), kSelectThreads},
                     score_in_rows_kernel(kind, data.metric), data.scoring(lists));
        const std::vector<Candidates> after = lists.held();
        for (size_t q = 0; q < after.size(); ++q) {
            Candidates expected = before[q];
            for (auto& [key, place] : expected) {
                if (data.lists[q].size() <= data.room) key = data.packed(q, place);
            }
            ASSERT_EQ(after[q], expected);
        }
    });
    EXPECT_EQ(score_in_rows_kernel(CodeKind::Bits, Metric::L2), nullptr);
}

// The tests' keys are those of score_by_codes, of the same codes in blocks.
TEST_F(SettleLists, KeysAreThoseOfBlocks) {
    Random random(7);
    const RandomCodes codes(CodeKind::Product8, 45, 0, {64, 30}, true, random);
    const SettleCase data(codes, Metric::L2, true, {20, 94}, 94, random);
    const KeyLists rows(data.lists, 94), blocks(data.lists, 94);
    simt::launch({"score_in_rows", 2, kSelectThreads},
                 score_in_rows_kernel(CodeKind::Product8, Metric::L2), data.scoring(rows));
    CodeScoring job = data.scoring(blocks);
    job.stored = data.store.stored();
    simt::launch({"score_by_codes", {2, 1}, kScoreThreads},
                 score_by_codes_kernel(CodeKind::Product8, Metric::L2), job);
    EXPECT_EQ(rows.held(), blocks.held());
}

TEST_F(SettleLists, IsTheSameInEveryOrder) {
    Random random(8);
    const RandomCodes codes(CodeKind::Float32, 20, 0, {300}, false, random);
    const SettleCase data(codes, Metric::L2, false, {17, 60, 300}, 300, random);
    const std::vector<Candidates> held = draw_held(data, 150, random);
    const std::vector<Candidates> expected = data.best(held, 150);
    config().resident_blocks = 3;
    config().preempt_one_in = 100;
    simt::for_each_order([&] { EXPECT_EQ(settled(data, held, 150).best, expected); }, 2);
}

TEST_F(SettleLists, NoticesEveryMissingBarrier) {
    Random random(9);
    const RandomCodes codes(CodeKind::Float16, 9, 0, {1400}, false, random);
    const SettleCase data(codes, Metric::L2, false, {17, 200, 600, 1350, 60}, 1300, random);
    const RandomCodes entries(CodeKind::Product4, 150, 0, {50, 30}, true, random);
    const SettleCase residuals(entries, Metric::L2, true, {60}, 80, random);
    const std::vector<Candidates> many = draw_held(data, 150, random), none(1);
    const std::vector<Candidates> few = draw_held(data, 20, random);
    const Settled best_of_many = settled(data, many, 150), best_of_few = settled(data, few, 20);
    const Settled best_residuals = settled(residuals, none, 20);
    EXPECT_EQ(best_residuals.best, residuals.best(none, 20));
    const auto is_right = [&] {
        const Settled result = settled(data, many, 150), other = settled(data, few, 20);
        return result.best == best_of_many.best && result.limits == best_of_many.limits &&
               other.best == best_of_few.best && other.limits == best_of_few.limits &&
               settled(residuals, none, 20).best == best_residuals.best;
    };
    EXPECT_EQ(expect_barriers_needed(is_right), 17u);
}

}  // namespace
}  // namespace nearcell::gpu
