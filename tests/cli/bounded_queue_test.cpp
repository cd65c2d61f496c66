// Values between two threads: in order, never more than the limit, and an end that both learn of.
#include <nearcell/cli/bounded_queue.h>

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>

namespace nearcell::cli {
namespace {

void nothing() {}

TEST(BoundedQueue, HandsOverInOrderAndHoldsNoMoreThanItsLimit) {
    BoundedQueue<int> queue(2);
    std::atomic<int> handed = 0;
    std::thread producer([&] {
        for (int i = 0; i < 1000; ++i) {
            if (queue.push(i, nothing)) ++handed;
        }
        queue.close();
    });
    int next = 0;
    while (const std::optional<int> value = queue.pop(nothing)) {
        EXPECT_EQ(*value, next++);
        EXPECT_LE(handed.load(), next + 3);  // two that wait, and one being counted
    }
    producer.join();
    EXPECT_EQ(next, 1000);
    EXPECT_FALSE(queue.push(1, nothing));
}

TEST(BoundedQueue, AClosedQueueLetsAProducerGo) {
    BoundedQueue<int> queue(1);
    ASSERT_TRUE(queue.push(1, nothing));
    bool taken = true;
    std::thread producer([&] { taken = queue.push(2, nothing); });
    queue.close();
    producer.join();
    EXPECT_FALSE(taken);
    EXPECT_EQ(queue.pop(nothing), 1);
    EXPECT_EQ(queue.pop(nothing), std::nullopt);
}

TEST(BoundedQueue, WhatEndedOneSideIsThrownAtTheOther) {
    BoundedQueue<int> queue(2);
    ASSERT_TRUE(queue.push(1, nothing));
    queue.fail(std::make_exception_ptr(std::runtime_error("full")));
    queue.close();  // the first end counts
    EXPECT_THROW(queue.push(2, nothing), std::runtime_error);
    EXPECT_EQ(queue.pop(nothing), 1);
    EXPECT_THROW(queue.pop(nothing), std::runtime_error);
    EXPECT_THROW(queue.throw_failure(), std::runtime_error);
}

TEST(BoundedQueue, WhoWaitsIsAskedWhetherToGoOn) {
    BoundedQueue<int> queue(1);
    const auto stop = [] { throw std::runtime_error("interrupted"); };
    EXPECT_THROW(queue.pop(stop), std::runtime_error);
    ASSERT_TRUE(queue.push(1, stop));
    EXPECT_THROW(queue.push(2, stop), std::runtime_error);
}

}  // namespace
}  // namespace nearcell::cli
