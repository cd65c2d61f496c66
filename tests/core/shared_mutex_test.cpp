// SharedMutex: writers exclude all, get their turn among readers that never stop, and readers may
// read twice; who would wait for itself is told.
#include <nearcell/core/shared_mutex.h>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace nearcell {
namespace {

using Milliseconds = std::chrono::milliseconds;

// With a std::shared_mutex of glibc this does not end: some reader always reads.
TEST(SharedMutex, WritersGetTheirTurn) {
    SharedMutex mutex;
    std::atomic<bool> done{false};
    int value = 0, other = 0;
    std::vector<std::thread> readers;
    for (int i = 0; i < 4; ++i) {
        readers.emplace_back([&] {
            while (!done) {
                const std::shared_lock lock(mutex);
                EXPECT_EQ(value, other);
                std::this_thread::sleep_for(Milliseconds(2));
            }
        });
    }
    for (int i = 0; i < 20; ++i) {
        const std::unique_lock lock(mutex);
        ++value;
        std::this_thread::yield();
        ++other;
    }
    done = true;
    for (std::thread& reader : readers)
        reader.join();
    EXPECT_EQ(value, 20);
}

TEST(SharedMutex, AReaderMayReadAgainWhileAWriterWaits) {
    SharedMutex mutex;
    std::atomic<bool> wrote{false};
    std::thread writer;
    {
        const std::shared_lock lock(mutex);
        writer = std::thread([&] {
            const std::unique_lock own(mutex);
            wrote = true;
        });
        std::this_thread::sleep_for(Milliseconds(20));  // it most likely waits by now
        const std::shared_lock again(mutex);
        EXPECT_FALSE(wrote);
    }
    writer.join();
    EXPECT_TRUE(wrote);
}

template <class Lock>
bool is_refused(SharedMutex& mutex) {
    try {
        const Lock lock(mutex);
        return false;
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::Unsupported);
        return true;
    }
}

TEST(SharedMutex, AThreadThatWouldWaitForItselfIsTold) {
    using Reads = std::shared_lock<SharedMutex>;
    using Writes = std::unique_lock<SharedMutex>;
    SharedMutex mutex, other;
    {
        const Writes lock(mutex);
        EXPECT_TRUE(is_refused<Reads>(mutex));
        EXPECT_TRUE(is_refused<Writes>(mutex));
        EXPECT_FALSE(is_refused<Reads>(other));
        EXPECT_FALSE(is_refused<Writes>(other));
    }
    {
        Reads first(mutex), second(mutex);
        EXPECT_FALSE(is_refused<Reads>(mutex));
        EXPECT_TRUE(is_refused<Writes>(mutex));
        const Writes own(other);
        first.unlock();  // in any order
        EXPECT_TRUE(is_refused<Writes>(mutex));
        second.unlock();
        EXPECT_FALSE(is_refused<Writes>(mutex));
        EXPECT_TRUE(is_refused<Writes>(other));
    }
    EXPECT_FALSE(is_refused<Writes>(mutex));
    EXPECT_FALSE(is_refused<Writes>(other));
    // More than a thread's memory of them.
    std::vector<SharedMutex> many(100);
    {
        std::vector<Reads> locks(many.begin(), many.end());
        EXPECT_TRUE(is_refused<Writes>(many[0]));
    }
    for (SharedMutex& one : many)
        EXPECT_FALSE(is_refused<Writes>(one));
    const Writes lock(mutex);
    EXPECT_TRUE(is_refused<Reads>(mutex));
}

// Else two threads of which each holds one and reads the other could wait for each other, by way of
// a writer that waits for one of them.
TEST(SharedMutex, AWriterMayReadAnotherOnWhichAWriterWaits) {
    SharedMutex mine, other;
    std::thread writer;
    {
        const std::shared_lock reads(other);
        writer = std::thread([&] { const std::unique_lock own(other); });
        std::this_thread::sleep_for(Milliseconds(20));  // it most likely waits by now
        std::thread([&] {
            const std::unique_lock own(mine);
            const std::shared_lock read(other);
        }).join();
    }
    writer.join();
}

}  // namespace
}  // namespace nearcell
