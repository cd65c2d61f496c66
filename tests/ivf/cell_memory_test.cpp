// CellMemory: what moves together and when, that contents stay, and when shared memory is freed.
#include <nearcell/ivf/cell_memory.h>

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include <nearcell/core/random.h>

namespace nearcell {
namespace {

constexpr CellShape kShape{3, 2};
constexpr GatherLimits kLimits{10000, 6000};

// Cells that hold what can be told from their number and slot.
class CellMemoryTest : public testing::TestWithParam<int> {
   protected:
    CellMemoryTest() {
        for (size_t& count : counts)
            count = static_cast<size_t>(1 + random.below(60));
        counts[kEmpty] = 0;
    }
    static constexpr size_t kCells = 40, kEmpty = 5;

    std::vector<size_t> sizes() const {
        std::vector<size_t> all(kCells);
        for (size_t c = 0; c < kCells; ++c)
            all[c] = cells[c].size();
        return all;
    }
    void gather(const std::vector<size_t>& wanted) {
        memory.make_room(cells, wanted, kShape, GetParam());
    }
    void fill(const std::vector<size_t>& wanted) {
        for (size_t c = 0; c < kCells; ++c) {
            const size_t old = cells[c].size(), count = wanted[c] - old;
            if (count == 0) continue;
            std::vector<int64_t> ids(count);
            std::vector<uint32_t> codes(count * 3), rerank(count * 2), which(count);
            std::iota(which.begin(), which.end(), 0u);
            std::iota(ids.begin(), ids.end(), static_cast<int64_t>(1000 * c + old));
            std::iota(codes.begin(), codes.end(), static_cast<uint32_t>(5000 * c + 3 * old));
            std::iota(rerank.begin(), rerank.end(), static_cast<uint32_t>(7000 * c + 2 * old));
            cells[c].grow(count, kShape);
            cells[c].set(old, which, {ids.data()}, codes.data(), rerank.data(), kShape);
        }
    }
    void expect_contents(const std::vector<size_t>& wanted) const {
        for (size_t c = 0; c < kCells; ++c) {
            ASSERT_EQ(cells[c].size(), wanted[c]) << c;
            for (size_t s = 0; s < wanted[c]; ++s) {
                ASSERT_EQ(cells[c].ids()[s], static_cast<int64_t>(1000 * c + s));
                uint32_t code[3];
                cells[c].copy_code(s, code, kShape);
                for (size_t w = 0; w < 3; ++w)
                    ASSERT_EQ(code[w], 5000 * c + 3 * s + w);
                for (size_t w = 0; w < 2; ++w)
                    ASSERT_EQ(cells[c].rerank_row(s, kShape)[w], 7000 * c + 2 * s + w);
            }
            for (size_t s = wanted[c]; s < blocks_for(wanted[c]) * kBlock; ++s) {
                uint32_t code[3];
                cells[c].copy_code(s, code, kShape);
                ASSERT_EQ(code[0] + code[1] + code[2], 0u) << "behind the end of cell " << c;
            }
        }
    }
    size_t shared() const {
        size_t count = 0;
        for (const Cell& cell : cells)
            count += cell.is_shared() ? size_t{1} : size_t{0};
        return count;
    }

    Random random{5};
    std::vector<size_t> counts = std::vector<size_t>(kCells);
    std::vector<Cell> cells = std::vector<Cell>(kCells);
    CellMemory memory{kLimits};
};

TEST_P(CellMemoryTest, FitsEmptyCellsExactly) {
    gather(counts);
    EXPECT_EQ(shared(), kCells - 1);
    std::vector<const uint32_t*> places;
    for (size_t c = 0; c < kCells; ++c) {
        EXPECT_TRUE(cells[c].has_room(counts[c], kShape));
        EXPECT_FALSE(cells[c].has_room(counts[c] + 16, kShape));
        places.push_back(cells[c].blocks());
    }
    fill(counts);
    expect_contents(counts);
    for (size_t c = 0; c < kCells; ++c)
        EXPECT_EQ(cells[c].blocks(), places[c]);
}

TEST_P(CellMemoryTest, LittleStaysWhereItIs) {
    std::vector<size_t> few(kCells, 0);
    few[3] = few[9] = 20;
    gather(few);
    EXPECT_EQ(shared(), 0u);
    fill(few);
    gather(few);
    EXPECT_EQ(shared(), 0u);
    expect_contents(few);
}

TEST_P(CellMemoryTest, MovesAgainWhenAQuarterIsApart) {
    gather(counts);
    fill(counts);
    std::vector<size_t> more = counts;
    more[0] += 500;  // 20 KB of 60
    gather(more);
    EXPECT_EQ(shared(), kCells - 1);
    for (size_t c = 0; c < kCells; ++c)
        EXPECT_TRUE(cells[c].has_room(more[c] + more[c] / 2, kShape));
    expect_contents(counts);
    fill(more);
    expect_contents(more);

    // A cell that grows out of its room leaves; the others stay where they are.
    const uint32_t* const place = cells[1].blocks();
    more[2] += 100;
    gather(more);
    fill(more);
    EXPECT_EQ(shared(), kCells - 2);
    EXPECT_EQ(cells[1].blocks(), place);
    expect_contents(more);
    for (size_t c = 10; c < kCells; ++c)
        more[c] = 2 * more[c] + 1;
    gather(more);
    EXPECT_EQ(shared(), kCells - 1);
    fill(more);
    expect_contents(more);
}

TEST_P(CellMemoryTest, ViewsOfAFileStayUntilTheyGrow) {
    fill(counts);
    const std::vector<Cell> file = std::move(cells);
    cells = std::vector<Cell>(kCells);
    for (size_t c = 0; c < kCells; ++c) {
        cells[c] =
            Cell(file[c].blocks(), file[c].ids(), file[c].rerank_rows(), file[c].size(), kShape);
    }
    std::vector<size_t> more = counts;
    for (size_t c = 0; c < kCells; c += 2)
        more[c] += 3;
    gather(more);
    EXPECT_EQ(shared(), kCells / 2);
    for (size_t c = 0; c < kCells; ++c)
        EXPECT_EQ(cells[c].blocks() == file[c].blocks(), c % 2 == 1) << c;
    fill(more);
    expect_contents(more);
}

// Cells hold the memory that they lie in, also without a re-rank store, until they have left it or
// have nothing there.
TEST(CellMemory, IsFreedWhenTheLastCellHasLeft) {
    constexpr CellShape kPlain{2, 0};
    const auto memory = std::make_shared<std::vector<std::byte>>(4096);
    auto* const line = memory->data() + (64 - reinterpret_cast<uintptr_t>(memory->data()) % 64);
    Cell some, none;
    some.move_to(line, 20, kPlain, memory);
    none.move_to(line + 1024, 0, kPlain, memory);
    EXPECT_TRUE(some.is_shared());
    EXPECT_FALSE(none.is_shared());
    EXPECT_EQ(memory.use_count(), 3);
    some.grow(20, kPlain);
    EXPECT_EQ(memory.use_count(), 3);
    some.grow(30, kPlain);  // leaves its place
    EXPECT_EQ(memory.use_count(), 1);
}

INSTANTIATE_TEST_SUITE_P(Threads, CellMemoryTest, testing::Values(1, 3));

}  // namespace
}  // namespace nearcell
