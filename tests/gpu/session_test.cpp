// Sessions of a pool where memory is short: those that nobody uses give theirs back.
#include <nearcell/gpu/session.h>

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include <nearcell/gpu/exact_search.h>
#include <nearcell/gpu/simt/emulator.h>

namespace nearcell::gpu {
namespace {

class SessionTest : public testing::Test {
   protected:
    SessionTest() {
        simt::reset();
        pinned_before_ = simt::pinned_bytes();  // that of devices of other tests
    }
    ~SessionTest() override { simt::reset(); }

    // A session that is idle then, with so much on the device and pinned.
    static void leave_idle(SessionPool& pool, size_t scratch, size_t pinned) {
        SessionPool::Lease session = pool.lease();
        session->scratch.take<char>(scratch);
        session->upload.get<char>(pinned);
        session.done();
    }
    void limit_pinned(size_t bytes) const { simt::config().pinned_bytes = pinned_before_ + bytes; }
    static bool is_full(const std::function<void()>& call) {
        try {
            call();
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), StatusCode::OutOfMemory) << error.what();
            return error.code() == StatusCode::OutOfMemory;
        }
        return false;
    }

   private:
    size_t pinned_before_;
};

TEST_F(SessionTest, IdleSessionsGiveTheirScratchBack) {
    for (const bool by_budget : {true, false}) {
        MemoryBudget budget(by_budget ? 10000 : 1000000);
        simt::config().device_bytes = by_budget ? 1000000 : 10000;
        SessionPool pool(budget);
        SessionPool::Lease first = pool.lease(), second = pool.lease();
        char* const kept = first->scratch.take<char>(1000);
        {
            SessionPool::Lease third = pool.lease();
            third->scratch.take<char>(6000);
            EXPECT_TRUE(is_full([&] { first->scratch.take<char>(6000); }));  // it is in use
            third.done();
        }
        EXPECT_EQ(budget.used(), 7000u);
        first->scratch.take<char>(6000);
        EXPECT_EQ(budget.used(), 7000u);
        EXPECT_TRUE(is_full([&] { second->scratch.take<char>(4000); }));
        EXPECT_EQ(budget.used(), 7000u);
        EXPECT_EQ(simt::counters().device_bytes, 7000u);
        simt::fill_bytes(kept, 0, 1000, first->stream.get());
        second->scratch.take<char>(3000);
    }
    EXPECT_EQ(simt::counters().device_bytes, 0u);
}

TEST_F(SessionTest, PinnedMemoryMayBeNoMoreThanIsWanted) {
    MemoryBudget budget(1000);
    SessionPool pool(budget);
    constexpr size_t kWanted = 300000;  // 512 KiB otherwise
    limit_pinned(kWanted + 100);
    SessionPool::Lease session = pool.lease();
    leave_idle(pool, 10, 1000);  // at least 256 KiB
    EXPECT_TRUE(is_full([&] { session->download.get<char>(kWanted + 101); }));
    const auto* const first = session->download.get<char>(kWanted);
    EXPECT_EQ(session->download.get<char>(kWanted), first);
    EXPECT_TRUE(is_full([&] { session->upload.get<char>(101); }));
    EXPECT_EQ(session->download.get<char>(10), first);
    session->upload.get<char>(100);
    const auto too_many = [&] { session->download.get<char>(kWanted + 1); };
    EXPECT_TRUE(is_full(too_many));
    EXPECT_TRUE(is_full(too_many));  // it has none now, and says so again
    session->download.get<char>(kWanted);
    PinnedBuffer of_no_pool;
    EXPECT_TRUE(is_full([&] { of_no_pool.get<char>(1); }));
}

TEST_F(SessionTest, FailuresOfOtherKindsAreNotTriedAgain) {
    MemoryBudget budget(1000);
    SessionPool pool(budget);
    leave_idle(pool, 10, 10);
    int calls = 0;
    const auto fail = [&] {
        ++calls;
        throw_error(StatusCode::NoDevice, "gone");
        return 0;
    };
    EXPECT_THROW(made_with_room(&pool, fail), Error);
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(budget.used(), 10u);
}

// The rows that an assignment searches are made beside the scratch that its backend keeps.
TEST_F(SessionTest, ABaseFitsWhereIdleSessionsAre) {
    const std::vector<float> values(1000 * 40, 1.0f);
    const MatrixView<const float> base(values.data(), 1000, 40);
    MemoryBudget budget(1000000);
    SessionPool pool(budget);
    leave_idle(pool, 200000, 10);
    simt::config().device_bytes = 350000;  // the base takes 300000
    const DeviceFlat flat(base, Metric::L2, {}, &pool);
    EXPECT_EQ(budget.used(), 0u);
    EXPECT_EQ(flat.rows(), 1000u);
}

// A larger batch than before, when there is little to pin.
TEST_F(SessionTest, ASearchGoesOnWithAsMuchAsItNeeds) {
    const std::vector<float> values(700 * 200, 1.0f);
    const MatrixView<const float> rows(values.data(), 700, 200);
    const DeviceFlat flat(rows.slice(0, 100), Metric::L2);
    const SearchResult few = flat.search(rows.slice(0, 10), 1);
    limit_pinned(550000);
    EXPECT_TRUE(is_full([&] { flat.search(rows, 1); }));
    EXPECT_EQ(flat.search(rows.slice(0, 10), 1).ids, few.ids);
    limit_pinned(830000);  // 560000 and 2 ^ 18
    EXPECT_EQ(flat.search(rows, 1).ids, std::vector<int64_t>(700, 0));
}

}  // namespace
}  // namespace nearcell::gpu
