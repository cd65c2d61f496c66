// Keys of candidates by their codes and by re-rank rows, bit by bit against the plain sum of the
// scan and the CPU's pair operations.
#include <nearcell/gpu/kernels/score_candidates.cuh>

#include <nearcell/cpu/isa_select.h>

#include "kernels/kernel_check.h"
#include "stored_case.h"

namespace nearcell::gpu {
namespace {

using checks::kAllKinds;
using checks::kAllMetrics;
using simt::config;

class ScoreCandidates : public simt::SimtTest {};

constexpr unsigned kSplit = 2;  // blocks that share a query's candidates

// Candidates of each query: different places, of the last query more than there is room for.
struct Candidates {
    size_t room;
    std::vector<unsigned> counts, places;
    Candidates(size_t queries, size_t total, size_t room_, Random& random)
        : room(room_), places(queries * room_, 0) {
        for (size_t q = 0; q < queries; ++q) {
            counts.push_back(static_cast<unsigned>(q + 1 == queries ? room + 1 : q * room / 3));
            size_t i = q * room;
            for (const size_t place : random_sample(total, room, random))
                places[i++] = static_cast<unsigned>(place);
        }
    }
    // key(query, place) of all, but 0 of those of which there are too many.
    template <class Key>
    Offers expected(const Key& key) const {
        Offers offers(counts.size());
        for (size_t q = 0; q < counts.size(); ++q) {
            for (size_t i = 0; i < std::min<size_t>(room, counts[q]); ++i) {
                const unsigned place = places[q * room + i];
                offers[q].insert({place, counts[q] > room ? 0 : key(q, place)});
            }
        }
        return offers;
    }
};

TEST_F(ScoreCandidates, ByCodes) {
    Random random(1);
    uint64_t turn = 0;
    for (const CodeKind kind : kAllKinds) {
        for (const Metric metric : kAllMetrics) {
            SCOPED_TRACE(testing::Message()
                         << "kind " << static_cast<int>(kind) << ", " << metric_name(metric));
            config().seed = ++turn;
            const size_t dim = 1 + random.below(150);
            const bool residual = turn % 3 != 0;
            const RandomCodes codes(kind, dim, 1 + turn % 8, {64, 16, 96}, residual, random);
            const StoredCase store(codes.view(), codes.cells, codes.centroids, residual, 9, false,
                                   random);
            const Matrix queries(4, dim, random);
            const Candidates candidates(4, 176, 140, random);
            ListsCase lists(4, candidates.room);
            lists.set(candidates.counts, candidates.places);
            const DeviceArray<float> values(queries.data);
            const CodeScoring job{store.stored(), residual ? store.cell_of_block() : nullptr,
                                  lists.lists(), values.data()};
            simt::launch({"score_by_codes", {4, kSplit}, kScoreThreads},
                         score_by_codes_kernel(kind, metric), job);
            ASSERT_EQ(lists.offers(), candidates.expected([&](size_t q, unsigned place) {
                return pack_key(store.key(metric, place, queries.row(q)), store.tag(place));
            }));
        }
    }
}

TEST_F(ScoreCandidates, ByRows) {
    Random random(2);
    uint64_t turn = 0;
    for (const CodeKind kind : kRowKinds) {
        for (const size_t dim : {1, 16, 31, 32, 47, 64, 131}) {
            const Metric metric = kAllMetrics[turn++ % 4];
            SCOPED_TRACE(testing::Message() << "kind " << static_cast<int>(kind) << ", "
                                            << metric_name(metric) << ", dim " << dim);
            config().seed = turn;
            const RandomCodes codes(kind, dim, 0, {100}, false, random);
            const CodeView view = codes.view();
            std::vector<uint32_t> words;
            for (const std::vector<uint32_t>& row : codes.cells[0])
                words.insert(words.end(), row.begin(), row.end());
            // For its parameters and tags on the device.
            const StoredCase store(view, codes.cells, codes.centroids, false, 9, false, random);
            const Matrix queries(4, dim, random);
            const Candidates candidates(4, 100, 25, random);
            ListsCase lists(4, candidates.room);
            lists.set(candidates.counts, candidates.places);
            const DeviceArray<float> values(queries.data);
            const DeviceArray<uint32_t> rows(words);
            const RowScoring job{store.stored().code, rows.data(), store.tags(), lists.lists(),
                                 values.data()};
            simt::launch({"score_by_rows", {4, kSplit}, kScoreThreads},
                         score_by_rows_kernel(kind, metric), job);
            ASSERT_EQ(lists.offers(), candidates.expected([&](size_t q, unsigned place) {
                const float key = pair_key(metric, store.vector(place).data(), queries.row(q), dim);
                return pack_key(key, store.tag(place));
            }));
        }
    }
    EXPECT_EQ(score_by_rows_kernel(CodeKind::Bits, Metric::L2), nullptr);
}

TEST_F(ScoreCandidates, IsTheSameInEveryOrder) {
    Random random(3);
    const RandomCodes codes(CodeKind::Float16, 40, 0, {100}, false, random);
    const StoredCase store(codes.view(), codes.cells, codes.centroids, false, 9, false, random);
    std::vector<uint32_t> words;
    for (const std::vector<uint32_t>& row : codes.cells[0])
        words.insert(words.end(), row.begin(), row.end());
    const Matrix queries(3, 40, random);
    const Candidates candidates(3, 100, 20, random);
    const DeviceArray<float> values(queries.data);
    const DeviceArray<uint32_t> rows(words);
    const Offers expected = candidates.expected([&](size_t q, unsigned place) {
        const float key = pair_key(Metric::L1, store.vector(place).data(), queries.row(q), 40);
        return pack_key(key, store.tag(place));
    });
    simt::for_each_order([&] {
        config().preempt_one_in = 30;
        config().resident_blocks = 4;
        ListsCase lists(3, candidates.room);
        lists.set(candidates.counts, candidates.places);
        const RowScoring job{store.stored().code, rows.data(), store.tags(), lists.lists(),
                             values.data()};
        simt::launch({"score_by_rows", {3, kSplit}, kScoreThreads},
                     score_by_rows_kernel(CodeKind::Float16, Metric::L1), job);
        EXPECT_EQ(lists.offers(), expected);
    });
}

// The tests' own sum against the CPU's.
TEST(PairKey, HasTheBitsOfTheCpu) {
    Random random(4);
    size_t tables = 0;
    for (const KernelTable* table : runnable_tables()) {
        if (!checks::is_fused(*table)) continue;
        ++tables;
        for (size_t dim = 1; dim < 140; dim += 3) {
            const Matrix rows(2, dim, random);
            const float *a = rows.row(0), *b = rows.row(1);
            EXPECT_EQ(table->l2_f32(b, a, dim), pair_key(Metric::L2, a, b, dim)) << table->isa;
            EXPECT_EQ(table->ip_f32(b, a, dim), pair_key(Metric::InnerProduct, a, b, dim));
            EXPECT_EQ(table->l1_f32(b, a, dim), pair_key(Metric::L1, a, b, dim));
        }
    }
    if (tables == 0) GTEST_SKIP() << "this machine has no fused multiply-adds to compare with";
}

}  // namespace
}  // namespace nearcell::gpu
