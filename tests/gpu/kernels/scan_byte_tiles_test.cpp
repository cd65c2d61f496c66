// The scan of byte tiles: it offers every vector whose key is within its query's limit, with an
// interval that the key lies in, and little else.
#include "byte_scan_case.h"

namespace nearcell::gpu {
namespace {

using checks::kAllKinds;
using simt::config;

class ScanByteTiles : public simt::SimtTest {};

constexpr Metric kProducts[] = {Metric::L2, Metric::InnerProduct, Metric::Cosine};
const std::vector<size_t> kSizes = {40, 1, 16, 200, 17};
constexpr size_t kChunkBlocks = 10;  // more than the four warps take at once

TEST_F(ScanByteTiles, OfEveryKindOfRandomCodes) {
    Random random(1);
    uint64_t turn = 0;
    for (const CodeKind kind : kAllKinds) {
        if (kind == CodeKind::Bits) continue;
        for (const size_t dim : {5, 32, 64, 96, 128, 160}) {
            const Metric metric = kProducts[turn % 3];
            SCOPED_TRACE(testing::Message() << "kind " << static_cast<int>(kind) << ", "
                                            << metric_name(metric) << ", dim " << dim);
            config().seed = ++turn;
            const bool centroids = turn % 4 != 0;
            const RandomCodes codes(kind, dim, 0, kSizes, centroids, random);
            ScanCase scan(codes, metric, turn % 4 == 1, turn % 2 == 0, {3, 9, 0, 1, 12},
                          Matrix(12, dim, random), random, kChunkBlocks);
            scan.draw_limits(random);
            check_scan(scan);
            if (HasFailure()) return;
        }
    }
}

// Vectors near and far from the origin and each other, limits of near and far vectors.
void check_any_size(size_t dim, const std::vector<size_t>& sizes, Random& random) {
    simt::reset();
    config().seed = random.next();
    EncodedCodes::Shape shape;
    shape.kind = kAllKinds[random.below(7)];
    shape.dim = dim;
    const bool half = shape.kind == CodeKind::Float16;  // which has no large numbers
    const bool scaled = !half && random.below(3) == 0;
    const bool is_exact = shape.kind == CodeKind::Float32 || shape.kind == CodeKind::BFloat16;
    const double most = is_exact ? 19.5 : 13;
    double scale = scaled ? std::pow(10.0, std::min(most, 6 * random.normal())) : 1;
    if (is_exact && random.below(4) == 0) scale = std::pow(10.0, 17 + 2.5 * random.uniform());
    shape.offset = random.below(2) == 0 ? 0 : scale * std::pow(10.0, random.normal());
    if (!half && random.below(8) == 0) shape.offset = 3e5 * scale;
    shape.spread = random.below(4) == 0 ? 0 : scale;
    shape.width = scale * std::pow(10.0, -2 * random.uniform());
    shape.residual = random.below(2) == 0;
    shape.zeros = random.below(2) == 0 ? 0 : 0.3;
    const EncodedCodes codes(shape, sizes, random);
    const Matrix queries = queries_near(codes, shape, scale, random);
    const Metric metric = kProducts[random.below(3)];
    ScanCase scan(codes, metric, shape.residual, random.below(2) == 0, {6, 5}, queries, random,
                  kChunkBlocks);
    scan.draw_limits(random);
    check_scan(scan, {kGrid, dim > 1700 ? 16u : kPairTile});
    ASSERT_FALSE(testing::Test::HasFailure())
        << metric_name(metric) << ", " << text_of(shape, scale);
}

TEST_F(ScanByteTiles, OfVectorsOfAnySize) {
    Random random(2);
    for (int turn = 0; turn < 120; ++turn) {
        SCOPED_TRACE(turn);
        const size_t dim = 1 + random.below(random.below(2) == 0 ? 20 : 170);
        check_any_size(dim, {40, 3, 60}, random);
        if (HasFailure()) return;
    }
}

TEST_F(ScanByteTiles, OfLongVectorsOfAnySize) {
    Random random(11);
    for (int turn = 0; turn < 24; ++turn) {
        SCOPED_TRACE(turn);
        const size_t dims[] = {170 + random.below(300), 769 + random.below(800), 4096};
        check_any_size(dims[turn % 3], {17, 2, 5}, random);
        if (HasFailure()) return;
    }
}

// Values that all round the same way, zeros, and numbers at the ends of what float has.
TEST_F(ScanByteTiles, OfNumbersThatAreHardToRound) {
    Random random(3);
    for (const float scale : {1.0f, 0x1p-126f, 0x1p-70f, 0x1p-30f, 0x1p40f, 0x1p61f, 0x1p100f}) {
        for (const Metric metric : kProducts) {
            RandomCodes codes(CodeKind::Float32, 40, 0, {33}, false, random);
            for (size_t i = 0; i < 33; ++i) {
                std::vector<uint32_t>& row = codes.cells[0][i];
                const float sign = i % 4 < 2 ? 1.0f : -1.0f;
                const float middle = sign * (i % 2 == 0 ? 63.501f : 63.499f);
                for (size_t j = 0; j < 40; ++j) {
                    const float value = (j == 7 ? 127 : middle) * (i < 20 ? scale : 1);
                    row[j] = std::bit_cast<uint32_t>(i == 32 ? 0 : value);
                }
            }
            ScanCase scan(codes, metric, false, false, {8}, queries_among(codes), random,
                          kChunkBlocks);
            for (int turn = 0; turn < 4; ++turn) {
                scan.draw_limits(random);
                check_scan(scan);
                ASSERT_FALSE(HasFailure()) << metric_name(metric) << ", scale " << scale;
            }
        }
    }
}

TEST_F(ScanByteTiles, WithoutLimitsAllAreOffered) {
    Random random(4);
    for (const Metric metric : {Metric::L2, Metric::Cosine}) {
        const RandomCodes codes(CodeKind::ScaledInt8, 33, 0, kSizes, true, random);
        const ScanCase scan(codes, metric, false, true, {4, 0, 70}, 75, random);
        const Offers offers = offered(scan, TiledCase(scan.store));
        check_offers(scan, offers);
        const Places all = places_within(scan, nullptr);
        for (size_t q = 0; q < offers.size(); ++q)
            EXPECT_EQ(offers[q].size(), all[q].size());
    }
}

// Vectors of a cell, under the limit of the tenth nearest: how many pass beside the ten, and how
// wide intervals are.
TEST_F(ScanByteTiles, LeavesMostOut) {
    Random random(5);
    for (const CodeKind kind : kAllKinds) {
        if (kind == CodeKind::Bits) continue;
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
            const Offers offers = offered(scan, TiledCase(scan.store));
            check_offers(scan, offers);
            EXPECT_LT(size_of(offers), 160u) << static_cast<int>(kind) << metric_name(metric);
            double width = 0;
            for (const auto& list : offers) {
                for (const Offer& offer : list)
                    width += static_cast<double>(upper_end(offer.second) - lower_end(offer.second));
            }
            // Keys are some 40, and -2400.
            const double most = metric == Metric::L2 ? 2 : 7;
            EXPECT_LT(width / static_cast<double>(size_of(offers)), most);
        }
    }
}

// More than a tile of queries; shared memory for only some.
TEST_F(ScanByteTiles, ManyQueriesInGroupsOfAnySize) {
    Random random(6);
    for (const Metric metric : {Metric::L2, Metric::InnerProduct}) {
        for (const size_t dim : {19, 160, 290}) {
            const RandomCodes codes(CodeKind::Product4, dim, 0, {20, 3, 170}, true, random);
            ScanCase scan(codes, metric, true, false, {0}, 140, random);
            scan.pairs = PairsCase(scan.store, scan.queries, metric, {64, 131, 70, 1, 24}, random,
                                   kByteTile);
            scan.draw_limits(random);
            const TiledCase tiles(scan.store);
            const Offers expected = offered(scan, tiles, {kGrid, kByteTile});
            check_offers(scan, expected);
            for (const unsigned group : {8u, 16u, 48u, 64u}) {
                const Offers offers = offered(scan, tiles, {kGrid, group});
                check_offers(scan, offers);
                // Similarities have a bound of all of a group.
                EXPECT_TRUE(metric != Metric::L2 || offers == expected);
            }
            for (const dim3 grid : {dim3{1, 1}, dim3{2, 2}, dim3{1, 7}, dim3{50, 1}})
                EXPECT_EQ(offered(scan, tiles, {grid, kByteTile}), expected);
        }
    }
}

// Queries that 8, 16 or 32 lanes round, that have more values than lanes keep, and whose rows do
// not begin at multiples of 16 bytes; as many columns of them as products take together, and fewer.
TEST_F(ScanByteTiles, LongVectors) {
    Random random(10);
    uint64_t turn = 0;
    for (const size_t dim : {132, 161, 388, 400, 772, 1536, 1541, 1700, 4096}) {
        const Metric metric = kProducts[turn % 3];
        SCOPED_TRACE(testing::Message() << metric_name(metric) << ", dim " << dim);
        config().seed = ++turn;
        const bool centroids = turn % 4 != 0;
        const RandomCodes codes(CodeKind::Float16, dim, 0, {40, 1, 70, 17}, centroids, random);
        ScanCase scan(codes, metric, turn % 4 == 1, turn % 2 == 0, {35, 9, 64, 20},
                      Matrix(70, dim, random), random, kChunkBlocks);
        scan.draw_limits(random);
        const TiledCase tiles(scan.store);
        const Offers expected = offered(scan, tiles, {kGrid, dim > 1700 ? 16u : 64u});
        check_offers(scan, expected);
        for (const unsigned group : {8u, 16u, 32u, 48u}) {
            if (dim > 1700 && group > 32) continue;  // more than there is shared memory for
            const Offers offers = offered(scan, tiles, {kGrid, group});
            check_offers(scan, offers);
            EXPECT_TRUE(metric != Metric::L2 || offers == expected);
        }
        if (HasFailure()) return;
    }
}

// Upper ends of the first vectors of each query's chunk.
TEST_F(ScanByteTiles, Samples) {
    Random random(7);
    for (const Metric metric : kProducts) {
        for (const unsigned sample : {1u, 20u, 100u}) {
            const RandomCodes codes(CodeKind::Float16, 33, 0, kSizes, true, random);
            ScanCase scan(codes, metric, false, sample != 20, {0}, Matrix(90, 33, random), random,
                          kChunkBlocks);
            std::vector<std::vector<size_t>> queries_of(scan.store.chunks().size());
            for (size_t q = 0; q < 90; ++q)
                queries_of[q < 70 ? 0 : q % queries_of.size()].push_back(q);
            scan.pairs = PairsCase(scan.store, scan.queries, metric, queries_of);
            scan.limits.assign(90, -kInfinity);  // which do not matter
            const TiledCase tiles(scan.store);
            for (const dim3 grid : {dim3{2, 1}, dim3{1, 3}}) {
                constexpr unsigned kUntouched = 77;
                const DeviceArray<unsigned> uppers(90 * size_t{sample}, kUntouched);
                const ListsCase lists(90, 1);
                scan_tiles(scan, tiles, lists.lists(), {grid, 32, sample, uppers.data()});
                std::vector<unsigned> expected(90, 0);
                const std::vector<unsigned> found = uppers.to_host();
                scan.pairs.for_each([&](size_t c, const ScanPair& pair) {
                    const Chunk& chunk = scan.store.chunks()[c];
                    const std::vector<unsigned> places = scan.store.places_of(chunk);
                    expected[pair.query] = std::min(chunk.vectors, sample);
                    for (unsigned row = 0; row < sample; ++row) {
                        const unsigned upper = found[pair.query * size_t{sample} + row];
                        const unsigned place = chunk.first_block * 16 + row;
                        if (row >= chunk.vectors) {
                            EXPECT_EQ(upper, kUntouched);
                        } else if (!std::binary_search(places.begin(), places.end(), place)) {
                            EXPECT_EQ(upper, pack_key(kInfinity, 0) >> 32);
                        } else {
                            const float end = upper_end(uint64_t{upper} << 32);
                            EXPECT_GE(end,
                                      scan.store.key(metric, place, scan.queries.row(pair.query)));
                            EXPECT_LT(end, kInfinity);
                        }
                    }
                });
                EXPECT_EQ(lists.counts(), expected);
                ASSERT_FALSE(HasFailure()) << metric_name(metric) << ", sample " << sample;
            }
        }
    }
}

TEST_F(ScanByteTiles, IsTheSameInEveryOrder) {
    Random random(8);
    const RandomCodes codes(CodeKind::RangeInt8, 40, 0, {40, 150}, true, random);
    ScanCase scan(codes, Metric::InnerProduct, false, true, {20, 2}, Matrix(20, 40, random), random,
                  kChunkBlocks);
    scan.draw_limits(random);
    const TiledCase tiles(scan.store);
    const Offers expected = offered(scan, tiles);
    check_offers(scan, expected);
    simt::for_each_order(
        [&] {
            for (const int resident : {1, 3}) {
                config().resident_blocks = resident;
                EXPECT_EQ(offered(scan, tiles), expected);
            }
        },
        2);
    config().preempt_one_in = 50;
    EXPECT_EQ(offered(scan, tiles, {dim3{2, 2}, kByteTile}), expected);
}

// All but the second one that similarities have: load_byte_queries has one before it adds to what
// that is about.
TEST_F(ScanByteTiles, NoticesEveryMissingBarrier) {
    Random random(9);
    for (const size_t dim : {40, 160}) {
        simt::reset();
        const RandomCodes codes(CodeKind::Float32, dim, 0, {150, 70}, true, random);
        const Matrix queries(40, dim, random);  // which two warps load
        ScanCase l2(codes, Metric::L2, false, false, {40}, queries, random, kChunkBlocks);
        ScanCase dot(codes, Metric::InnerProduct, false, false, {40}, queries, random,
                     kChunkBlocks);
        l2.draw_limits(random);  // so that lanes offer what others have kept
        dot.draw_limits(random);
        const TiledCase tiles(l2.store);
        const Start start{1};
        const Offers of_l2 = offered(l2, tiles, start), of_dot = offered(dot, tiles, start);
        const auto is_right = [&] {
            return offered(l2, tiles, start) == of_l2 && offered(dot, tiles, start) == of_dot;
        };
        EXPECT_EQ(expect_barriers_needed(is_right), 4u);
        EXPECT_EQ(expect_barriers_needed(is_right, 0, simt::SiteKind::WarpBarrier), 2u);
    }
}

// Where values are made, a warp waits before what passes takes their place.
TEST_F(ScanByteTiles, NoticesEveryMissingBarrierWhereValuesAreMade) {
    Random random(12);
    for (const CodeKind kind : {CodeKind::RangeInt8, CodeKind::Product4}) {
        simt::reset();
        const RandomCodes codes(kind, 100, 0, {150, 70}, true, random);
        ScanCase scan(codes, Metric::L2, false, false, {40}, Matrix(40, 100, random), random,
                      kChunkBlocks);
        scan.draw_limits(random);
        TiledCase tiles(scan.store);
        const Start start{1};
        const Offers offers = offered(scan, tiles, start);
        tiles.drop_values();
        const auto is_right = [&] { return offered(scan, tiles, start) == offers; };
        EXPECT_EQ(expect_barriers_needed(is_right), 4u);
        EXPECT_EQ(expect_barriers_needed(is_right, 0, simt::SiteKind::WarpBarrier), 3u);
    }
}

// Codes of subspaces of any width, which lie in two words where eight dimensions begin within one;
// rows of any number of words.
TEST_F(ScanByteTiles, MakesValuesOfAnyWidths) {
    Random random(13);
    for (const CodeKind kind : {CodeKind::Product4, CodeKind::Product8}) {
        for (const size_t dim : {3, 24, 40, 77, 96, 100, 127, 128}) {
            for (const size_t width : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, dim}) {
                const size_t subquantizers = (dim + width - 1) / width;
                SCOPED_TRACE(testing::Message() << "dim " << dim << ", " << subquantizers);
                config().seed = random.next();
                const RandomCodes codes(kind, dim, subquantizers, {40, 17}, true, random);
                ScanCase scan(codes, Metric::L2, random.below(2) == 0, false, {5, 9},
                              Matrix(9, dim, random), random, kChunkBlocks);
                scan.draw_limits(random);
                check_scan(scan);
                if (HasFailure()) return;
            }
        }
    }
}

}  // namespace
}  // namespace nearcell::gpu
