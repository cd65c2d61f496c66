// Tags of ids, small ones and ranks of large ones, and what a failed update leaves.
#include <nearcell/gpu/id_tags.h>

#include <gtest/gtest.h>

#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/gpu/session.h>
#include <nearcell/gpu/simt/emulator.h>

namespace nearcell::gpu {
namespace {

class IdTagsTest : public testing::Test {
   protected:
    IdTagsTest() { simt::reset(); }
    ~IdTagsTest() override { simt::reset(); }

    static CellView cell_of(const std::vector<int64_t>& ids, uint64_t version) {
        CellView cell;
        cell.ids = ids.data();
        cell.size = ids.size();
        cell.version = version;
        return cell;
    }
};

TEST_F(IdTagsTest, SmallIdsAreTheirOwnTags) {
    MemoryBudget budget(1000);
    const OwnStream stream;
    IdTags tags;
    const std::vector<int64_t> ids = {7, 0, 0xffffffff};
    const CellView cell = cell_of(ids, 1);
    tags.update({&cell, 1}, budget, stream.get());
    EXPECT_EQ(tags.version(), 0u);
    EXPECT_EQ(tags.device_ids(), nullptr);
    for (const int64_t id : ids)
        EXPECT_EQ(tags.id_of(tags.tag_of(id)), id);
}

TEST_F(IdTagsTest, LargeIdsHaveRanks) {
    MemoryBudget budget(1000);
    const OwnStream stream;
    IdTags tags;
    std::vector<int64_t> ids = {int64_t{1} << 40, 3, int64_t{1} << 33};
    CellView cell = cell_of(ids, 1);
    tags.update({&cell, 1}, budget, stream.get());
    EXPECT_EQ(tags.version(), 1u);
    EXPECT_EQ(tags.tag_of(3), 0u);
    EXPECT_EQ(tags.tag_of(int64_t{1} << 40), 2u);
    EXPECT_EQ(tags.id_of(1), int64_t{1} << 33);
    EXPECT_NE(tags.device_ids(), nullptr);
    tags.update({&cell, 1}, budget, stream.get());
    EXPECT_EQ(tags.version(), 1u);  // nothing has changed
    ids.resize(2);
    ids[0] = 4;
    cell = cell_of(ids, 2);
    tags.update({&cell, 1}, budget, stream.get());
    EXPECT_EQ(tags.version(), 2u);
    EXPECT_EQ(tags.tag_of(4), 4u);
    EXPECT_EQ(tags.device_ids(), nullptr);
}

TEST_F(IdTagsTest, AFailedUpdateIsMadeUpFor) {
    const OwnStream stream;
    MemoryBudget budget(20);
    IdTags tags;
    const std::vector<int64_t> ids = {int64_t{1} << 40, 3, int64_t{1} << 33};
    const CellView cell = cell_of(ids, 1);
    for (int i = 0; i < 2; ++i)
        EXPECT_THROW(tags.update({&cell, 1}, budget, stream.get()), Error);
    MemoryBudget enough(100);
    tags.update({&cell, 1}, enough, stream.get());
    EXPECT_NE(tags.device_ids(), nullptr);
    EXPECT_EQ(tags.size(), 3u);
    tags = IdTags();
}

}  // namespace
}  // namespace nearcell::gpu
