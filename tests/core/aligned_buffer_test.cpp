// AlignedBuffer against std::vector under random operations, and views that must never be written.
#include <nearcell/core/aligned_buffer.h>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include <nearcell/core/random.h>

namespace nearcell {
namespace {

bool on_a_line(const void* data) { return reinterpret_cast<uintptr_t>(data) % 64 == 0; }

void expect_equal(const AlignedBuffer<int>& buffer, const std::vector<int>& values) {
    ASSERT_EQ(buffer.size(), values.size());
    for (size_t i = 0; i < values.size(); ++i)
        ASSERT_EQ(buffer[i], values[i]) << i;
    ASSERT_TRUE(values.empty() || on_a_line(buffer.data()));
}

TEST(AlignedBuffer, BehavesLikeAVector) {
    Random random(1);
    AlignedBuffer<int> buffer;
    std::vector<int> values;
    for (int step = 0; step < 2000; ++step) {
        const size_t size = random.below(200);
        switch (random.below(6)) {
            case 0:
                buffer.resize(size);
                values.resize(size);
                break;
            case 1: buffer.reserve(size); break;
            case 2:
                if (values.empty()) break;
                values[size % values.size()] = step;
                buffer.mutable_data()[size % values.size()] = step;
                break;
            case 3: {
                const AlignedBuffer<int> copy(buffer);
                expect_equal(copy, values);
                buffer = copy;
                break;
            }
            case 4: {
                AlignedBuffer<int> moved(std::move(buffer));
                buffer = std::move(moved);
                break;
            }
            default: values.assign(size, step); buffer.assign(values.data(), values.size());
        }
        expect_equal(buffer, values);
    }
}

TEST(AlignedBuffer, NewElementsAreZeroAfterShrinking) {
    AlignedBuffer<int> buffer(10);
    for (size_t i = 0; i < 10; ++i)
        buffer.mutable_data()[i] = 7;
    buffer.resize(3);
    buffer.resize(10);
    expect_equal(buffer, {7, 7, 7, 0, 0, 0, 0, 0, 0, 0});
}

TEST(AlignedBuffer, GrowthIsAmortised) {
    AlignedBuffer<uint8_t> buffer;
    size_t moves = 0;
    const uint8_t* last = nullptr;
    for (size_t size = 1; size <= 100000; ++size) {
        buffer.resize(size);
        if (buffer.data() != last) ++moves;
        last = buffer.data();
    }
    EXPECT_LE(moves, 20u);
}

TEST(AlignedBuffer, ViewsCopyBeforeTheFirstChange) {
    const std::vector<int> source = {1, 2, 3, 4};
    const auto view = [&] { return AlignedBuffer<int>::view(source.data(), source.size()); };
    EXPECT_EQ(view().data(), source.data());
    EXPECT_EQ(view().capacity_bytes(), 0u);

    AlignedBuffer<int> written = view();  // a copy owns its values, a move keeps the view
    AlignedBuffer<int> grown = view(), shrunk = view();
    written.mutable_data()[0] = 9;
    grown.resize(6);
    shrunk.resize(2);
    shrunk.mutable_data()[1] = 9;
    expect_equal(written, {9, 2, 3, 4});
    expect_equal(grown, {1, 2, 3, 4, 0, 0});
    expect_equal(shrunk, {1, 9});
    EXPECT_EQ(source, (std::vector<int>{1, 2, 3, 4}));

    const AlignedBuffer<int> original = view();
    const AlignedBuffer<int> copy(original);
    EXPECT_NE(copy.data(), source.data());
    expect_equal(copy, source);
}

TEST(AlignedBuffer, RefusesSizesBeyondMemoryAndStaysAsItWas) {
    AlignedBuffer<int> buffer(3);
    buffer.mutable_data()[2] = 5;
    EXPECT_THROW(buffer.resize(std::numeric_limits<size_t>::max() / 2), std::bad_alloc);
    EXPECT_THROW(buffer.reserve(std::numeric_limits<size_t>::max()), std::bad_alloc);
    expect_equal(buffer, {0, 0, 5});
}

TEST(AlignedBuffer, SharesMemoryUntilItOutgrowsItsPlace) {
    struct Line {
        alignas(64) int values[16] = {};
    };
    const auto lines = std::make_shared<std::vector<Line>>(2);
    int* const places[2] = {(*lines)[0].values, (*lines)[1].values};
    std::vector<AlignedBuffer<int>> buffers(2);
    for (size_t i = 0; i < 2; ++i) {
        buffers[i].resize(3);
        buffers[i].mutable_data()[2] = static_cast<int>(i) + 5;
        EXPECT_FALSE(buffers[i].is_shared());
        buffers[i].move_to(places[i], 16, lines);
        EXPECT_TRUE(buffers[i].is_shared());
        EXPECT_EQ(buffers[i].data(), places[i]);
        EXPECT_EQ(buffers[i].capacity_bytes(), 64u);
    }
    EXPECT_EQ(lines.use_count(), 3);
    buffers[0].resize(16);
    EXPECT_EQ(buffers[0].data(), places[0]);
    const AlignedBuffer<int> copy(buffers[0]);
    EXPECT_FALSE(copy.is_shared());
    buffers[0].resize(17);  // leaves its place
    EXPECT_FALSE(buffers[0].is_shared());
    EXPECT_EQ(lines.use_count(), 2);
    expect_equal(buffers[0], {0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
    expect_equal(buffers[1], {0, 0, 6});
    AlignedBuffer<int> moved(std::move(buffers[1]));
    expect_equal(moved, {0, 0, 6});
    moved = AlignedBuffer<int>();
    EXPECT_EQ(lines.use_count(), 1);
}

TEST(AlignedBuffer, GrowsWithoutZeroing) {
    AlignedBuffer<int> buffer;
    buffer.resize_for_overwrite(3);
    for (int i = 0; i < 3; ++i)
        buffer.mutable_data()[i] = i;
    buffer.resize_for_overwrite(1);
    buffer.resize_for_overwrite(2);
    EXPECT_EQ(buffer.size(), 2u);
    buffer.mutable_data()[1] = 8;
    expect_equal(buffer, {0, 8});
}

}  // namespace
}  // namespace nearcell
