// The end of a search by byte tiles of re-rank rows: keys have the bits of score_by_rows, and the
// best are those that sorting finds.
#include <nearcell/gpu/kernels/settle_rows.cuh>

#include "settle_case.h"

namespace nearcell::gpu {
namespace {

using simt::config;

class SettleRows : public simt::SimtTest {};

Settled settled(const SettleCase& data, const std::vector<Candidates>& held, size_t k,
                unsigned threads = kSelectThreads) {
    return settled_by(data, held, k, [&](const Settling& job, unsigned queries) {
        simt::launch({"settle_rows", queries, threads},
                     settle_rows_kernel(data.store.stored().code.kind, data.metric), job);
    });
}

// One that lies before all others, and one behind.
std::vector<Candidates> held_before(size_t queries, size_t k) {
    std::vector<Candidates> held(queries);
    for (size_t q = 0; q < queries; q += 2)
        held[q] = {{pack_key(-1e30f, 5), 100005}, {pack_key(1e30f, 6), 100006}};
    for (Candidates& list : held)
        list.resize(std::min(k, list.size()));
    return held;
}

TEST_F(SettleRows, OfEveryKind) {
    Random random(1);
    uint64_t turn = 0;
    for (const CodeKind kind : kRowKinds) {
        for (const Metric metric : kProducts) {
            for (const size_t dim : {1, 32, 47, 150}) {
                SCOPED_TRACE(testing::Message() << "kind " << static_cast<int>(kind) << ", "
                                                << metric_name(metric) << ", dim " << dim);
                config().seed = ++turn;
                const RandomCodes codes(kind, dim, 0, {70, 1, 50}, turn % 2 == 0, random);
                const SettleCase data(codes, metric, false, {0, 1, 5, 33, 90}, 100, random, true);
                for (const size_t k : {1, 4, 20, 300}) {
                    const std::vector<Candidates> held = held_before(data.lists.size(), k);
                    const std::vector<Candidates> expected = data.best(held, k);
                    for (const unsigned threads : {kSelectThreads, kMostSelectThreads}) {
                        const Settled result =
                            settled(data, held, k, static_cast<unsigned>(threads));
                        ASSERT_EQ(result.best, expected) << "k = " << k << ", " << threads;
                        unsigned long long left = 0;
                        for (const Candidates& list : result.lists)
                            left += list.size();
                        EXPECT_EQ(result.scored, left);
                        EXPECT_EQ(result.crowded, 0u);
                    }
                }
            }
        }
    }
    for (const CodeKind kind : {CodeKind::Bits, CodeKind::Product4, CodeKind::ScaledInt8})
        EXPECT_EQ(settle_rows_kernel(kind, Metric::L2), nullptr);
}

TEST_F(SettleRows, IsTheSameInEveryOrder) {
    Random random(2);
    const RandomCodes codes(CodeKind::RangeInt8, 40, 0, {100}, true, random);
    const SettleCase data(codes, Metric::L2, false, {60, 20}, 64, random, true);
    const std::vector<Candidates> held(2);
    const std::vector<Candidates> expected = data.best(held, 7);
    simt::for_each_order([&] {
        config().preempt_one_in = 30;
        config().resident_blocks = 2;
        EXPECT_EQ(settled(data, held, 7).best, expected);
    });
}

}  // namespace
}  // namespace nearcell::gpu
