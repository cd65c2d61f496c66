// The scan on tensor cores: of what it offers, those whose keys are under the limits are what the
// direct scan offers, whatever the codes, and it offers little else.
#include <nearcell/gpu/kernels/scan_chunks_mma.cuh>
#include <nearcell/gpu/kernels/score_candidates.cuh>

#include "scan_case.h"

namespace nearcell::gpu {
namespace {

using checks::kAllKinds;
using simt::config;

class ScanChunksMma : public simt::SimtTest {};

constexpr Metric kProducts[] = {Metric::L2, Metric::InnerProduct, Metric::Cosine};
const std::vector<size_t> kSizes = {40, 1, 16, 200, 17};
constexpr size_t kChunkBlocks = 12;  // more than the four warps take at once

size_t size_of(const Offers& offers) {
    size_t size = 0;
    for (const auto& list : offers)
        size += list.size();
    return size;
}

// What the filter offers.
Offers offered(const ScanCase& scan, unsigned grid = kGrid) {
    const ListsCase lists(scan.queries.rows, scan.room());
    scan.scan(scan_chunks_mma_kernel(scan.kind(), scan.metric, 80), lists.lists(), grid,
              kProductThreads);
    return lists.offers();
}

// Of these, with keys by score_by_codes, those under the limits.
Offers kept(const ScanCase& scan, const Offers& offers) {
    const size_t queries = scan.queries.rows, room = scan.room();
    std::vector<unsigned> counts, places(queries * room, 0);
    for (size_t q = 0; q < queries; ++q) {
        size_t i = q * room;
        for (const Offer& offer : offers[q])
            places[i++] = offer.first;
        counts.push_back(static_cast<unsigned>(offers[q].size()));
    }
    ListsCase lists(queries, room);
    lists.set(counts, places);
    const CodeScoring job{scan.store.stored(), scan.store.cell_of_block(), lists.lists(),
                          scan.values.data()};
    simt::launch({"score_by_codes", {static_cast<unsigned>(queries), 1}, kScoreThreads},
                 score_by_codes_kernel(scan.kind(), scan.metric), job);
    Offers result(queries);
    const Offers scored = lists.offers();
    for (size_t q = 0; q < queries; ++q) {
        for (const Offer& offer : scored[q]) {
            const float key = std::bit_cast<float>(key_bits(offer.second));
            if (key <= scan.limits[q]) result[q].insert(offer);
        }
    }
    return result;
}

bool is_complete(const ScanCase& scan) { return kept(scan, offered(scan)) == scan.expected(); }

TEST_F(ScanChunksMma, OfEveryKindOfRandomCodes) {
    Random random(1);
    uint64_t turn = 0;
    for (const CodeKind kind : kAllKinds) {
        for (const Metric metric : kProducts) {
            for (const size_t dim : {1, 34, 64, 150}) {
                SCOPED_TRACE(testing::Message() << "kind " << static_cast<int>(kind) << ", "
                                                << metric_name(metric) << ", dim " << dim);
                config().seed = ++turn;
                const bool centroids = turn % 3 != 0;
                const RandomCodes codes(kind, dim, 1 + turn % 8, kSizes, centroids, random);
                ScanCase scan(codes, metric, turn % 3 == 1, turn % 2 == 0, {3, 9, 0, 1, 12},
                              Matrix(12, dim, random), random, kChunkBlocks);
                scan.draw_limits(random);
                ASSERT_TRUE(is_complete(scan));
            }
        }
    }
}

// Vectors near and far from the origin and each other, limits of near and far vectors.
TEST_F(ScanChunksMma, OfVectorsOfAnySize) {
    Random random(2);
    for (int turn = 0; turn < 150; ++turn) {
        simt::reset();
        config().seed = random.next();
        EncodedCodes::Shape shape;
        shape.kind = kAllKinds[random.below(8)];
        shape.dim = 1 + random.below(random.below(2) == 0 ? 20 : 200);
        shape.bits = 1 + random.below(8);
        const bool half = shape.kind == CodeKind::Float16;  // which has no large numbers
        const bool scaled = !half && random.below(3) == 0;
        const double scale = scaled ? std::pow(10.0, std::min(13.0, 6 * random.normal())) : 1;
        shape.offset = random.below(2) == 0 ? 0 : scale * std::pow(10.0, random.normal());
        shape.spread = random.below(4) == 0 ? 0 : scale;
        shape.width = scale * std::pow(10.0, -2 * random.uniform());
        shape.residual = random.below(2) == 0;
        shape.zeros = random.below(2) == 0 ? 0 : 0.3;
        const EncodedCodes codes(shape, {40, 3, 60}, random);
        const Matrix queries = queries_near(codes, shape, scale, random);
        const Metric metric = kProducts[random.below(3)];
        ScanCase scan(codes, metric, shape.residual, random.below(2) == 0, {6, 5}, queries, random,
                      kChunkBlocks);
        scan.draw_limits(random);
        ASSERT_TRUE(is_complete(scan))
            << "turn " << turn << ", " << metric_name(metric) << ", " << text_of(shape, scale);
    }
}

// Values that all round the same way, and numbers at the ends of what float has.
TEST_F(ScanChunksMma, OfNumbersThatAreHardToRound) {
    Random random(3);
    const float up = std::bit_cast<float>(0x3f808000u), down = std::bit_cast<float>(0x3f807fffu);
    for (const float scale : {1.0f, 0x1p-70f, 0x1p-30f, 0x1p40f, 0x1p62f}) {
        for (const Metric metric : kProducts) {
            RandomCodes codes(CodeKind::Float32, 40, 0, {33}, false, random);
            for (size_t i = 0; i < 33; ++i) {
                for (uint32_t& word : codes.cells[0][i]) {
                    const float sign = i % 4 < 2 ? 1.0f : -1.0f;
                    const float value = sign * (i % 2 == 0 ? up : down) * (i < 20 ? scale : 1);
                    word = std::bit_cast<uint32_t>(i == 32 ? 0 : value);
                }
            }
            ScanCase scan(codes, metric, false, false, {8}, queries_among(codes), random,
                          kChunkBlocks);
            for (int turn = 0; turn < 4; ++turn) {
                scan.draw_limits(random);
                ASSERT_TRUE(is_complete(scan)) << metric_name(metric) << ", scale " << scale;
            }
        }
    }
}

TEST_F(ScanChunksMma, Refined) {
    Random random(4);
    for (const size_t bits : {1, 3}) {
        for (const Metric metric : {Metric::L2, Metric::Cosine}) {
            for (const bool residual : {true, false}) {
                EncodedCodes::Shape shape{CodeKind::Bits, 40, bits, 0.3, 1, 1, residual, 0.1};
                const EncodedCodes codes(shape, kSizes, random);
                ScanCase scan(codes, metric, residual, true, {11}, Matrix(12, 40, random), random,
                              kChunkBlocks);
                scan.refined = true;
                scan.margin = 0.7f;
                for (size_t q = 0; q < 12; ++q) {
                    const auto product = checks::exact_key(
                        Metric::InnerProduct, scan.queries.row(q), scan.queries.row(q), 40);
                    scan.host_lengths[q] = static_cast<float>(std::sqrt(-product.key));
                }
                scan.draw_limits(random);
                const Offers found = offered(scan), expected = scan.expected(false);
                for (size_t q = 0; q < found.size(); ++q) {
                    EXPECT_TRUE(std::includes(found[q].begin(), found[q].end(), expected[q].begin(),
                                              expected[q].end()));
                }
                scan.limits.assign(12, kInfinity);
                const size_t all = size_of(scan.expected(false));
                EXPECT_LT(size_of(found) - size_of(expected), all / 20);
            }
        }
    }
    // Nothing is known of a cell: all pass.
    const RandomCodes codes(CodeKind::Bits, 40, 1, {30}, false, random);
    ScanCase scan(codes, Metric::L2, false, false, {2}, Matrix(2, 40, random), random);
    scan.refined = true;
    scan.limits = {-1.0f, 0.0f};
    EXPECT_EQ(size_of(offered(scan)), 60u);
}

// Vectors of a cell, under the limit of the tenth nearest: how many pass beside the ten.
TEST_F(ScanChunksMma, LeavesMostOut) {
    Random random(5);
    for (const CodeKind kind : kAllKinds) {
        for (const Metric metric : {Metric::L2, Metric::InnerProduct}) {
            EncodedCodes::Shape shape{kind, 96, 4, 5, 1, 0.5, kind != CodeKind::Float16, 0};
            const EncodedCodes codes(shape, {400}, random);
            Matrix queries(10, 96, random, 5);
            for (size_t q = 0; q < queries.rows; ++q) {
                for (size_t j = 0; j < 96; ++j)
                    queries.row(q)[j] =
                        codes.centroids.row(0)[j] + static_cast<float>(0.5 * random.normal());
            }
            ScanCase scan(codes, metric, shape.residual, false, {10}, queries, random, 30);
            for (size_t q = 0; q < queries.rows; ++q) {
                std::vector<float> keys;
                for (unsigned place = 0; place < 400; ++place)
                    keys.push_back(scan.store.key(metric, place, queries.row(q)));
                std::nth_element(keys.begin(), keys.begin() + 9, keys.end());
                scan.limits[q] = keys[9];
            }
            const Offers found = offered(scan);
            EXPECT_EQ(kept(scan, found), scan.expected());
            EXPECT_LT(size_of(found), 130u) << static_cast<int>(kind) << metric_name(metric);
        }
    }
}

// More than a tile of queries, and more dimensions than a slice has.
TEST_F(ScanChunksMma, ManyQueriesAndDimensions) {
    Random random(6);
    const RandomCodes many(CodeKind::Product4, 19, 0, {20, 3}, true, random);
    ScanCase tiles(many, Metric::L2, true, false, {64, 131, 70}, 140, random);
    tiles.draw_limits(random);
    EXPECT_TRUE(is_complete(tiles));
    for (const CodeKind kind : {CodeKind::Float16, CodeKind::Product8, CodeKind::Bits}) {
        const RandomCodes wide(kind, 397, 2, {150}, true, random);
        ScanCase slices(wide, Metric::Cosine, kind == CodeKind::Bits, false, {3},
                        Matrix(3, 397, random), random, kChunkBlocks);
        slices.draw_limits(random);
        EXPECT_TRUE(is_complete(slices));
    }
}

TEST_F(ScanChunksMma, IsTheSameInEveryOrderAndGrid) {
    Random random(7);
    const RandomCodes codes(CodeKind::RangeInt8, 10, 0, {40, 150}, true, random);
    ScanCase scan(codes, Metric::InnerProduct, false, true, {9, 2}, Matrix(10, 10, random), random,
                  kChunkBlocks);
    scan.draw_limits(random);
    const Offers expected = offered(scan);
    EXPECT_EQ(kept(scan, expected), scan.expected());
    simt::for_each_order(
        [&] {
            for (const int resident : {1, 3}) {
                config().resident_blocks = resident;
                EXPECT_EQ(offered(scan), expected);
            }
        },
        2);
    config().preempt_one_in = 50;
    for (const unsigned grid : {1u, 2u, 50u})
        EXPECT_EQ(offered(scan, grid), expected);
}

TEST_F(ScanChunksMma, NoticesEveryMissingBarrier) {
    Random random(8);
    const RandomCodes codes(CodeKind::Float32, 260, 0, {150}, true, random);
    ScanCase scan(codes, Metric::InnerProduct, false, false, {9}, Matrix(9, 260, random), random,
                  kChunkBlocks);
    scan.draw_limits(random);
    const Offers expected = offered(scan, 1);
    EXPECT_EQ(expect_barriers_needed([&] { return offered(scan, 1) == expected; }), 3u);
}

TEST_F(ScanChunksMma, IsForProductsOfBfloat16) {
    EXPECT_EQ(scan_chunks_mma_kernel(CodeKind::Bits, Metric::L1, 90), nullptr);
    EXPECT_EQ(scan_chunks_mma_kernel(CodeKind::Bits, Metric::L2, 75), nullptr);
    EXPECT_NE(scan_chunks_mma_kernel(CodeKind::Bits, Metric::L2, 80), nullptr);
}

}  // namespace
}  // namespace nearcell::gpu
