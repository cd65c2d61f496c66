// Byte tiles: what they say of each vector, against the vectors themselves in double precision, and
// where each value lies.
#include <nearcell/gpu/kernels/make_byte_tiles.cuh>

#include "byte_case.h"

namespace nearcell::gpu {
namespace {

using checks::kAllKinds;
using simt::config;

class ByteTilesTest : public simt::SimtTest {};

// The int8 value of a dimension, as the banner of byte_tiles.cuh says where it is.
int byte_at(const std::vector<uint32_t>& values, unsigned steps, unsigned place, unsigned j) {
    const unsigned g = place % 8, half = place % 16 / 8, t = j % 32 / 8;
    const size_t lane = (size_t{place} / 16 * steps + j / 32) * 32 + 4 * g + t;
    const unsigned word = j % 8 / 4 * 2 + half;  // of the four registers of the A operand
    return static_cast<int8_t>(values[lane * 4 + word] >> (j % 4 * 8) & 255u);
}

// The vector that is rounded.
std::vector<double> moved(const StoredCase& store, unsigned place, unsigned cell) {
    std::vector<double> result;
    for (size_t j = 0; j < store.dim(); ++j) {
        const double base =
            store.has_centroids() ? static_cast<double>(store.centroid(cell)[j]) : 0.0;
        result.push_back(static_cast<double>(store.vector(place)[j]) - base);
    }
    return result;
}

// Of a vector with known bounds.
void check_vector(const std::vector<double>& exact, const std::vector<uint32_t>& values,
                  unsigned steps, unsigned place, const ByteTerms& terms) {
    double off = 0, square = 0;
    int most = 0;
    for (unsigned j = 0; j < exact.size(); ++j) {
        const int byte = byte_at(values, steps, place, j);
        const double rounded = byte * static_cast<double>(terms.scale);
        off += (exact[j] - rounded) * (exact[j] - rounded);
        square += rounded * rounded;
        most = std::max(most, std::abs(byte));
    }
    EXPECT_LE(std::sqrt(off), static_cast<double>(terms.error)) << "place " << place;
    // A float has no less than 2^-149.
    EXPECT_NEAR(static_cast<double>(terms.square), square, 1e-5 * square + 1e-42)
        << "place " << place;
    EXPECT_EQ(most, terms.scale > 0 ? 127 : 0) << "place " << place;
}

void check_padding(const std::vector<uint32_t>& values, unsigned steps, unsigned dim,
                   unsigned place) {
    for (unsigned j = dim; j < steps * 32; ++j)
        EXPECT_EQ(byte_at(values, steps, place, j), 0) << "place " << place << ", dimension " << j;
}

void check_tiles(const StoredCase& store) {
    const TiledCase tiles(store);
    const std::vector<uint32_t> values = tiles.values();
    const std::vector<ByteTerms> terms = tiles.terms();
    const auto dim = static_cast<unsigned>(store.dim());
    const unsigned steps = tiles.stored().tiles.steps;
    ASSERT_EQ(steps, (dim + 31) / 32);
    for (const Chunk& chunk : store.chunks()) {
        for (unsigned v = 0; v < chunk.vectors; ++v) {
            const unsigned place = chunk.first_block * 16 + v;
            check_vector(moved(store, place, chunk.cell), values, steps, place, terms[place]);
        }
    }
    for (unsigned place = 0; place < terms.size(); ++place)
        check_padding(values, steps, dim, place);
}

TEST_F(ByteTilesTest, OfEveryKind) {
    Random random(1);
    uint64_t turn = 0;
    for (const CodeKind kind : kAllKinds) {
        if (kind == CodeKind::Bits) continue;
        for (const size_t dim : {1, 4, 31, 32, 33, 96, 100}) {
            const bool centroids = turn % 3 != 0, residual = turn % 3 == 1;
            config().seed = ++turn;
            SCOPED_TRACE(testing::Message() << "kind " << static_cast<int>(kind) << ", dim " << dim
                                            << (residual ? ", residual" : ""));
            const RandomCodes codes(kind, dim, 0, {20, 1, 16}, centroids, random);
            check_tiles(
                StoredCase(codes.view(), codes.cells, codes.centroids, residual, 9, false, random));
        }
    }
    EXPECT_EQ(make_byte_tiles_kernel(CodeKind::Bits), nullptr);
}

// There a vector is a rounded sum.
TEST_F(ByteTilesTest, OfResidualsFarFromTheOrigin) {
    Random random(5);
    for (const CodeKind kind : {CodeKind::Float32, CodeKind::RangeInt8, CodeKind::Product4}) {
        for (const bool residual : {true, false}) {
            RandomCodes codes(kind, 70, 0, {20, 30}, true, random);
            for (float& value : codes.centroids.data)
                value *= 1e7f;
            check_tiles(
                StoredCase(codes.view(), codes.cells, codes.centroids, residual, 9, false, random));
        }
    }
}

TEST_F(ByteTilesTest, CodesAreTurnedToRows) {
    Random random(2);
    const RandomCodes codes(CodeKind::Float16, 29, 0, {20, 3}, false, random);
    const StoredCase store(codes.view(), codes.cells, codes.centroids, false, 9, false, random);
    const std::vector<uint32_t> blocks = store.block_words(), rows = TiledCase(store).rows();
    const size_t words = codes.view().words;
    ASSERT_EQ(rows.size(), blocks.size());
    for (size_t place = 0; place < rows.size() / words; ++place) {
        for (size_t w = 0; w < words; ++w) {
            ASSERT_EQ(rows[place * words + w],
                      blocks[(place / kBlock * words + w) * kBlock + place % kBlock]);
        }
    }
}

// Vectors of one value, of which a dimension has four times as much.
Rows rows_of(const std::vector<float>& values, size_t dim) {
    Rows rows;
    for (const float value : values) {
        rows.emplace_back(dim, std::bit_cast<uint32_t>(value * 0.25f));
        rows.back()[dim / 2] = std::bit_cast<uint32_t>(value);
    }
    return rows;
}

TEST_F(ByteTilesTest, OfZerosAndOfSmallAndLargeNumbers) {
    Random random(3);
    const std::vector<float> known = {0.0f,    -0.0f,     1e-45f, 0x1p-126f, -0x1p-101f, 0x1p-99f,
                                      0x1p-50, -0x1p-30f, 1.0f,   -0x1p40f,  0x1.8p50,   0x1p57f};
    RandomCodes codes(CodeKind::Float32, 40, 0, {1}, false, random);
    codes.cells = {rows_of(known, 40)};
    const StoredCase store(codes.view(), codes.cells, codes.centroids, false, 9, false, random);
    check_tiles(store);
    const TiledCase tiles(store);
    const std::vector<ByteTerms> terms = tiles.terms();
    for (unsigned place = 0; place < 5; ++place) {  // of which nothing is left
        EXPECT_EQ(terms[place].scale, 0.0f);
        EXPECT_EQ(terms[place].square, 0.0f);
        for (unsigned j = 0; j < 40; ++j)
            EXPECT_EQ(byte_at(tiles.values(), 2, place, j), 0);
    }
}

// All that is said of those is that nothing is known.
TEST_F(ByteTilesTest, OfNumbersThatAreTooLarge) {
    Random random(4);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> unknown = {0x1p61f,  -0x1p61f,  0x1p60f,    0x1.fp59f, 0x1p90f,
                                        0x1p127f, kInfinity, -kInfinity, nan};
    RandomCodes codes(CodeKind::Float32, 64, 0, {1}, false, random);
    codes.cells = {rows_of(unknown, 64)};
    const StoredCase store(codes.view(), codes.cells, codes.centroids, false, 9, false, random);
    const std::vector<ByteTerms> terms = TiledCase(store).terms();
    for (size_t i = 0; i < unknown.size(); ++i)
        EXPECT_TRUE(std::isnan(terms[i].square)) << unknown[i];
    EXPECT_EQ(terms[unknown.size()].square, 0.0f);  // behind the last one
}

}  // namespace
}  // namespace nearcell::gpu
