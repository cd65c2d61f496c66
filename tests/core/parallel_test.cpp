// parallel_for: every task once, workers never shared, exceptions, nesting, any number of threads.
#include <nearcell/core/parallel.h>

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace nearcell {
namespace {

TEST(Parallel, RunsEveryTaskOnce) {
    for (const int threads : {0, 1, 2, 3, 8, 64}) {
        for (const size_t tasks : {0u, 1u, 2u, 7u, 1000u}) {
            std::vector<std::atomic<int>> runs(tasks);
            parallel_for(tasks, threads, [&](size_t i, int) { ++runs[i]; });
            for (size_t i = 0; i < tasks; ++i) {
                ASSERT_EQ(runs[i].load(), 1) << i << " of " << tasks << ", " << threads;
            }
        }
    }
}

TEST(Parallel, WorkersAreNotSharedAndInRange) {
    for (const int threads : {0, 1, 2, 5}) {
        const int workers = resolve_threads(threads);
        std::vector<std::atomic<int>> busy(static_cast<size_t>(workers));
        std::atomic<int> clashes{0};
        parallel_for(500, threads, [&](size_t, int worker) {
            ASSERT_GE(worker, 0);
            ASSERT_LT(worker, workers);
            std::atomic<int>& mine = busy[static_cast<size_t>(worker)];
            if (mine.fetch_add(1) != 0) ++clashes;
            std::this_thread::yield();
            mine.fetch_sub(1);
        });
        EXPECT_EQ(clashes.load(), 0);
    }
}

TEST(Parallel, ResolvesThreads) {
    EXPECT_GE(resolve_threads(0), 1);
    EXPECT_EQ(resolve_threads(-3), resolve_threads(0));
    EXPECT_EQ(resolve_threads(3), 3);
    EXPECT_EQ(resolve_threads(1 << 30), kMaxThreads);
}

TEST(Parallel, RethrowsAfterAllTasksHaveEnded) {
    for (const int threads : {1, 2, 4}) {
        std::atomic<int> running{0}, after{0};
        std::string message;
        try {
            parallel_for(100, threads, [&](size_t i, int) {
                ++running;
                std::this_thread::yield();
                --running;
                if (i == 13) throw std::runtime_error("task 13");
            });
            after = 1;
        } catch (const std::runtime_error& error) {
            message = error.what();
        }
        EXPECT_EQ(message, "task 13") << threads;
        EXPECT_EQ(after.load(), 0);
        EXPECT_EQ(running.load(), 0);
        // The executor still works.
        std::atomic<int> sum{0};
        parallel_for(10, threads, [&](size_t i, int) { sum += static_cast<int>(i); });
        EXPECT_EQ(sum.load(), 45);
    }
}

TEST(Parallel, OneOfManyExceptionsArrives) {
    EXPECT_THROW(parallel_for(1000, 4, [](size_t, int) { throw std::logic_error("each"); }),
                 std::logic_error);
}

// OpenMP's threads are not in the child, which would wait for them. (std::thread's are new ones.)
TEST(Parallel, GoesOnInTheChildOfAFork) {
    parallel_for(100, 4, [](size_t, int) {});
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        alarm(60);  // ends it where it waits
        std::atomic<int> sum{0};
        parallel_for(10, 4, [&](size_t i, int) { sum += static_cast<int>(i); });
        _exit(sum.load() == 45 ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 0);
    EXPECT_EQ(resolve_threads(3), 3);  // here nothing is lost
}

TEST(Parallel, NestedCallsAreSerial) {
    std::atomic<int> total{0}, parallel_inside{0};
    parallel_for(8, 2, [&](size_t, int) {
        if (resolve_threads(4) != 1) ++parallel_inside;
        const std::thread::id self = std::this_thread::get_id();
        parallel_for(5, 4, [&](size_t, int worker) {
            if (worker != 0 || std::this_thread::get_id() != self) ++parallel_inside;
            ++total;
        });
    });
    EXPECT_EQ(total.load(), 40);
    EXPECT_EQ(parallel_inside.load(), 0);
}

TEST(Parallel, NestedExceptionsReachTheOuterCaller) {
    EXPECT_THROW(parallel_for(4, 2,
                              [](size_t, int) {
                                  parallel_for(3, 2, [](size_t i, int) {
                                      if (i == 1) throw std::runtime_error("inner");
                                  });
                              }),
                 std::runtime_error);
}

// Two callers at once, as two Python threads would be.
TEST(Parallel, ConcurrentCallersDoNotMix) {
    std::vector<size_t> sums(4);
    std::vector<std::thread> callers;
    for (size_t caller = 0; caller < sums.size(); ++caller) {
        callers.emplace_back([&sums, caller] {
            for (int round = 0; round < 20; ++round) {
                std::atomic<size_t> sum{0};
                parallel_for(100, 2, [&](size_t i, int) { sum += i; });
                sums[caller] += sum.load();
            }
        });
    }
    for (std::thread& caller : callers)
        caller.join();
    for (const size_t sum : sums)
        EXPECT_EQ(sum, 20u * 4950u);
}

TEST(Parallel, NamesItsExecutor) {
    const std::string name = executor_name();
    EXPECT_TRUE(name == "openmp" || name == "std") << name;
}

}  // namespace
}  // namespace nearcell
