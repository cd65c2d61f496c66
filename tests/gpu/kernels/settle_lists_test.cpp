// The end of a search by byte tiles: keys have the bits of score_by_codes, and the best are those
// that sorting finds.
#include <memory>
#include <set>

#include "settle_case.h"

namespace nearcell::gpu {
namespace {

using checks::kAllKinds;
using simt::config;

class SettleLists : public simt::SimtTest {};

constexpr unsigned kThreads[] = {kSelectThreads, kMostSelectThreads};

Settled settled(const SettleCase& data, const std::vector<Candidates>& held, size_t k,
                unsigned threads = kSelectThreads) {
    return settled_by(data, held, k, [&](const Settling& job, unsigned queries) {
        simt::launch({"settle_lists", queries, threads},
                     settle_lists_kernel(data.store.stored().code.kind, data.metric), job);
    });
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
    const Settled result = settled(data, held, k, threads);
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

// Whose codebooks come along.
TEST_F(SettleLists, OfNarrowSubspaces) {
    Random random(4);
    std::set<size_t> widths;
    for (size_t turn = 0; turn < 60; ++turn) {
        const size_t dim = 12 * (1 + random.below(40));
        const bool residual = turn % 2 == 0;
        const RandomCodes codes(CodeKind::Product4, dim, 0, {40, 20}, residual, random);
        const size_t width = codes.view().sub_width;
        if (width == 0) continue;
        SCOPED_TRACE(testing::Message() << width << " of " << dim << " dimensions");
        const SettleCase data(codes, kProducts[turn % 3], residual, {19, 60}, 60, random);
        check_settled(data, 5, random);
        if (HasFatalFailure()) return;
        widths.insert(width);
    }
    EXPECT_EQ(widths, (std::set<size_t>{1, 2, 3, 4}));
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

// 4-bit codes that are added up by words.
std::unique_ptr<const RandomCodes> narrow_codes(size_t dim, Random& random) {
    for (;;) {
        auto codes = std::make_unique<const RandomCodes>(
            CodeKind::Product4, dim, 0, std::vector<size_t>{50, 30}, false, random);
        if (codes->view().sub_width == 1) return codes;
    }
}

TEST_F(SettleLists, NoticesEveryMissingBarrier) {
    Random random(9);
    const RandomCodes codes(CodeKind::Float16, 9, 0, {1400}, false, random);
    const SettleCase data(codes, Metric::L2, false, {17, 200, 600, 1350, 60}, 1300, random);
    const RandomCodes entries(CodeKind::Product4, 150, 0, {50, 30}, true, random);
    const SettleCase residuals(entries, Metric::L2, true, {60}, 80, random);
    const auto narrow = narrow_codes(144, random);
    const SettleCase words(*narrow, Metric::L2, false, {60}, 80, random);
    const std::vector<Candidates> many = draw_held(data, 150, random), none(1);
    const std::vector<Candidates> few = draw_held(data, 20, random);
    const Settled best_of_many = settled(data, many, 150), best_of_few = settled(data, few, 20);
    const Settled best_residuals = settled(residuals, none, 20);
    const Settled best_words = settled(words, none, 20);
    EXPECT_EQ(best_residuals.best, residuals.best(none, 20));
    EXPECT_EQ(best_words.best, words.best(none, 20));
    const auto is_right = [&] {
        const Settled result = settled(data, many, 150), other = settled(data, few, 20);
        return result.best == best_of_many.best && result.limits == best_of_many.limits &&
               other.best == best_of_few.best && other.limits == best_of_few.limits &&
               settled(residuals, none, 20).best == best_residuals.best &&
               settled(words, none, 20).best == best_words.best;
    };
    EXPECT_EQ(expect_barriers_needed(is_right), 19u);
}

}  // namespace
}  // namespace nearcell::gpu
