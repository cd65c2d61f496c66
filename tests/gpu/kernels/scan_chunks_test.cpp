// The direct scan of stored codes against a plain sum in the order of dimensions, bit by bit, and
// that sum and a plain reading of the codes against the CPU's operations.
#include <nearcell/gpu/kernels/scan_chunks.cuh>

#include <nearcell/cpu/isa_select.h>

#include "kernels/kernel_check.h"
#include "scan_case.h"

namespace nearcell::gpu {
namespace {

using checks::kAllKinds;
using checks::kAllMetrics;
using simt::config;

class ScanChunks : public simt::SimtTest {};

const std::vector<size_t> kSizes = {40, 1, 16, 150, 17};
TEST_F(ScanChunks, OfEveryKindByEveryMetric) {
    Random random(1);
    uint64_t turn = 0;
    for (const CodeKind kind : kAllKinds) {
        for (const Metric metric : kAllMetrics) {
            for (const size_t dim : {1, 34, 150}) {
                SCOPED_TRACE(testing::Message() << "kind " << static_cast<int>(kind) << ", "
                                                << metric_name(metric) << ", dim " << dim);
                ++turn;
                config().seed = turn;
                const bool centroids = turn % 3 != 0;
                const RandomCodes codes(kind, dim, 1 + turn % 8, kSizes, centroids, random);
                ScanCase scan(codes, metric, turn % 3 == 1, turn % 2 == 0, {3, 9, 0, 1, 12}, 12,
                              random);
                scan.draw_limits(random);
                ASSERT_EQ(scan.found(), scan.expected());
            }
        }
    }
}

TEST_F(ScanChunks, OfEveryNumberOfBits) {
    Random random(2);
    for (size_t bits = 1; bits <= 8; ++bits) {
        for (const Metric metric : {Metric::L2, Metric::InnerProduct}) {
            const RandomCodes codes(CodeKind::Bits, 70, bits, kSizes, true, random);
            ScanCase scan(codes, metric, true, false, {4}, 5, random);
            ASSERT_EQ(scan.found(), scan.expected()) << bits << " bits";
        }
    }
}

// Places alone, by the least key that an estimate leaves possible.
TEST_F(ScanChunks, Refined) {
    Random random(3);
    size_t differing = 0;  // from a scan by keys
    for (const size_t bits : {1, 3}) {
        for (const Metric metric : {Metric::L2, Metric::Cosine}) {
            for (const bool centroids : {true, false}) {
                const RandomCodes codes(CodeKind::Bits, 40, bits, kSizes, centroids, random);
                ScanCase scan(codes, metric, centroids, true, {11}, 12, random);
                scan.refined = true;
                scan.margin = 0.7f;
                for (float& length : scan.host_lengths)
                    length = static_cast<float>(random.uniform());
                scan.draw_limits(random);
                const Offers expected = scan.expected(false);
                EXPECT_EQ(scan.found(false), expected);
                scan.refined = false;
                differing += scan.expected(false) != expected ? 1 : 0;
            }
        }
    }
    EXPECT_GE(differing, 6u);
}

// More than a tile of queries, and more dimensions than a slice has.
TEST_F(ScanChunks, ManyQueriesAndDimensions) {
    Random random(4);
    const RandomCodes many(CodeKind::Product4, 19, 0, {20, 3}, true, random);
    const ScanCase tiles(many, Metric::L2, true, false, {64, 131, 70}, 140, random);
    EXPECT_EQ(tiles.found(), tiles.expected());
    for (const CodeKind kind : {CodeKind::Float16, CodeKind::Product8, CodeKind::Bits}) {
        const RandomCodes wide(kind, 397, 2, {20}, true, random);
        const ScanCase slices(wide, Metric::L1, true, false, {3}, 3, random);
        EXPECT_EQ(slices.found(), slices.expected());
    }
}

TEST_F(ScanChunks, IsTheSameInEveryOrderAndGrid) {
    Random random(5);
    const RandomCodes codes(CodeKind::RangeInt8, 10, 0, {40, 150}, true, random);
    ScanCase scan(codes, Metric::L2, true, true, {9, 2}, 10, random);
    scan.draw_limits(random);
    const Offers expected = scan.expected();
    simt::for_each_order(
        [&] {
            for (const int resident : {1, 3}) {
                config().resident_blocks = resident;
                EXPECT_EQ(scan.found(), expected);
            }
        },
        2);
    config().preempt_one_in = 20;
    for (const unsigned grid : {1u, 2u, 50u})
        EXPECT_EQ(scan.found(true, grid), expected);
}

TEST_F(ScanChunks, CountsWhatThereIsNoRoomFor) {
    Random random(6);
    const RandomCodes codes(CodeKind::Float32, 5, 0, kSizes, false, random);
    const ScanCase scan(codes, Metric::InnerProduct, false, false, {2, 0, 4}, 4, random);
    const Offers expected = scan.expected();
    const ListsCase lists(4, 30);
    scan.scan(scan_chunks_kernel(scan.kind(), scan.metric), lists.lists());
    const std::vector<unsigned> counts = lists.counts();
    const Offers offers = lists.offers();
    for (size_t q = 0; q < 4; ++q) {
        EXPECT_EQ(counts[q], expected[q].size());
        EXPECT_EQ(offers[q].size(), std::min<size_t>(30, expected[q].size()));
        EXPECT_TRUE(std::includes(expected[q].begin(), expected[q].end(), offers[q].begin(),
                                  offers[q].end()));
    }
}

TEST_F(ScanChunks, NoticesEveryMissingBarrier) {
    Random random(7);
    const RandomCodes codes(CodeKind::Float32, 140, 0, {20}, true, random);
    const ScanCase scan(codes, Metric::L2, true, false, {9}, 9, random);
    const Offers expected = scan.expected();
    ASSERT_EQ(scan.found(), expected);
    EXPECT_EQ(expect_barriers_needed([&] { return scan.found() == expected; }), 2u);
}

// The tests' own reading of codes and their sums, against the CPU's scan.
TEST(StoredCase, SaysWhatTheCpuSays) {
    Random random(8);
    size_t tables = 0;
    for (const KernelTable* table : runnable_tables()) {
        if (!checks::is_fused(*table)) continue;
        ++tables;
        for (const CodeKind kind : kAllKinds) {
            for (const size_t bits : {1, 4, 7}) {
                simt::reset();
                const RandomCodes codes(kind, 37, bits, {16}, true, random);
                const StoredCase store(codes.view(), codes.cells, codes.centroids, true, 1, false,
                                       random);
                const Matrix queries(1, 37, random);
                std::vector<float> values(37 * kBlock), bias(kBlock);
                const CodeView view = codes.view();
                const std::vector<uint32_t> blocks = store.block_words();
                decode_kernel(*table, kind)(&view, blocks.data(), codes.centroids.row(0),
                                            values.data());
                for (unsigned v = 0; v < kBlock && kind == CodeKind::Bits; ++v)
                    bias[v] = store.factor(v, BitsFactor::Bias);
                const float* const query = queries.row(0);
                const uint16_t mask = 0xffff;
                for (const Metric metric : {Metric::L2, Metric::InnerProduct, Metric::L1}) {
                    ScanKernel* const scan = metric == Metric::L2   ? table->scan_l2_f32
                                             : metric == Metric::L1 ? table->scan_l1_f32
                                                                    : table->scan_ip_f32;
                    Hit hits[kBlock];
                    ASSERT_EQ(
                        scan(values.data(), 1, 37, metric == Metric::L2 ? bias.data() : nullptr,
                             &query, 1, &kInfinity, &mask, hits),
                        kBlock);
                    for (const Hit& hit : hits)
                        EXPECT_EQ(hit.key, store.key(metric, hit.slot, query)) << table->isa;
                }
            }
        }
    }
    if (tables == 0) GTEST_SKIP() << "this machine has no fused multiply-adds to compare with";
}

}  // namespace
}  // namespace nearcell::gpu
