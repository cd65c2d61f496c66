// Blocks, threads and their barriers, in every order; what is reported when threads do not meet.
#include <numeric>
#include <set>
#include <string>

#include <nearcell/gpu/simt/simt.h>

#include "support.h"

namespace nearcell::simt {
namespace {

using BarrierTest = SimtTest;

__global__ void number_kernel(unsigned* numbers) {
    const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const unsigned at = block * blockDim.x * blockDim.y * blockDim.z + thread;
    numbers[at] = at;
}

TEST_F(BarrierTest, EveryThreadOfEveryBlockRunsOnce) {
    for_each_order([] {
        for (const int resident : {1, 3}) {
            config().resident_blocks = resident;
            const unsigned count = 2 * 3 * 2 * 5 * 4 * 3;
            const DeviceArray<unsigned> numbers(count);
            launch({"number", dim3(2, 3, 2), dim3(5, 4, 3)}, number_kernel, numbers.data());
            std::vector<unsigned> expected(count);
            std::iota(expected.begin(), expected.end(), 0u);
            ASSERT_EQ(numbers.to_host(), expected);
        }
    });
    EXPECT_EQ(counters().blocks, 16u * 2 * 12);
    EXPECT_EQ(counters().threads, 16u * 2 * 720);
}

__global__ void reverse_kernel(const int* in, int* out) {
    SIMT_SHARED(values, int[1024]);
    values[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = values[blockDim.x - 1 - threadIdx.x];
}

TEST_F(BarrierTest, OthersAreSeenAfterIt) {
    for_each_order([] {
        for (const unsigned count : {1u, 31u, 32u, 33u, 250u, 1024u}) {
            std::vector<int> values(count);
            std::iota(values.begin(), values.end(), 7);
            const DeviceArray<int> in(values), out(count);
            launch({"reverse", 1, count}, reverse_kernel, in.data(), out.data());
            ASSERT_EQ(out.to_host(), std::vector<int>(values.rbegin(), values.rend()));
        }
    });
}

__global__ void vote_kernel(int* count, int* any, int* all) {
    const int vote = threadIdx.x % 3 == 0 ? 5 : 0;
    count[threadIdx.x] = __syncthreads_count(vote);
    any[threadIdx.x] = __syncthreads_or(threadIdx.x == 40) * 2 + __syncthreads_or(0);
    all[threadIdx.x] = __syncthreads_and(1) * 2 + __syncthreads_and(threadIdx.x != 40);
}

TEST_F(BarrierTest, CountsVotes) {
    const unsigned threads = 50;
    const DeviceArray<int> count(threads), any(threads), all(threads);
    launch({"vote", 1, threads}, vote_kernel, count.data(), any.data(), all.data());
    EXPECT_EQ(count.to_host(), std::vector<int>(threads, 17));
    EXPECT_EQ(any.to_host(), std::vector<int>(threads, 2));
    EXPECT_EQ(all.to_host(), std::vector<int>(threads, 2));
}

// Warps 0 and 1 hand a row to warps 2 and 3 through one barrier and get the room back through
// another.
__global__ void pipeline_kernel(const int* in, int rows, int* out) {
    SIMT_SHARED(row, int[64]);
    const unsigned lane = threadIdx.x % 64;
    for (int r = 0; r < rows; ++r) {
        if (threadIdx.x < 64) {
            row[lane] = in[static_cast<unsigned>(r) * 64 + lane];
            named_barrier_sync(1, 128);
        } else {
            named_barrier_sync(1, 128);
            out[static_cast<unsigned>(r) * 64 + lane] = row[63 - lane] * 2;
        }
        named_barrier_sync(2, 128);
    }
}

TEST_F(BarrierTest, NamedBarriersOrderTheirWarps) {
    std::vector<int> values(5 * 64), expected(values.size());
    std::iota(values.begin(), values.end(), 1);
    for (size_t i = 0; i < values.size(); ++i)
        expected[i] = values[i / 64 * 64 + 63 - i % 64] * 2;
    for_each_order([&] {
        const DeviceArray<int> in(values), out(values.size());
        launch({"pipeline", 1, 128}, pipeline_kernel, in.data(), 5, out.data());
        ASSERT_EQ(out.to_host(), expected);
    });
}

// Which thread was first to come through the barrier.
__global__ void first_kernel(unsigned* first) {
    __syncthreads();
    atomicCAS(first, 999u, threadIdx.x);
}

TEST_F(BarrierTest, SeedsDecideTheOrder) {
    std::set<unsigned> seen;
    for (uint64_t seed = 1; seed <= 40; ++seed) {
        config().seed = seed;
        std::vector<unsigned> twice;
        for (int run = 0; run < 2; ++run) {
            const DeviceArray<unsigned> first(1, 999u);
            launch({"first", 1, 96}, first_kernel, first.data());
            twice.push_back(first.to_host()[0]);
        }
        EXPECT_EQ(twice[0], twice[1]);
        seen.insert(twice[0]);
    }
    EXPECT_GT(seen.size(), 20u);
}

__global__ void divergent_kernel(int* out) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    out[threadIdx.x] = 1;
}
constexpr int kDivergentLine = __LINE__ - 6;  // of the first barrier

TEST_F(BarrierTest, DivergenceIsReported) {
    for_each_order([] {
        const DeviceArray<int> out(64);
        const auto report = fault_of([&] {
            launch({"divergent", 1, 64}, divergent_kernel, out.data());
        });
        ASSERT_TRUE(report);
        EXPECT_EQ(report->fault, Fault::DivergentBarrier);
        EXPECT_EQ(report->kernel, "divergent");
        const SourceLine source = report->source();
        EXPECT_TRUE(source.file.ends_with("barriers_test.cpp")) << source.file;
        EXPECT_TRUE(source.line == kDivergentLine || source.line == kDivergentLine + 2)
            << source.line;
        const std::string other =
            "barriers_test.cpp:" + std::to_string(2 * kDivergentLine + 2 - source.line);
        EXPECT_NE(report->message.find(other), std::string::npos) << report->message;
    });
}

__global__ void early_return_kernel(unsigned working, int* out) {
    if (threadIdx.x >= working) return;
    __syncthreads();
    out[threadIdx.x] = 1;
}
constexpr int kEarlyReturnLine = __LINE__ - 3;

TEST_F(BarrierTest, ReturnedThreadsAreMissed) {
    for_each_order([] {
        const DeviceArray<int> out(64);
        const auto early = [&] { launch({"early", 1, 64}, early_return_kernel, 40u, out.data()); };
        const auto report = fault_of(early);
        ASSERT_TRUE(report);
        EXPECT_EQ(report->fault, Fault::MissedBarrier);
        EXPECT_EQ(report->source().line, kEarlyReturnLine);
        EXPECT_NE(report->message.find("24 threads"), std::string::npos) << report->message;
        config().may_exit_before_barrier = true;
        early();
        config().may_exit_before_barrier = false;
    });
}

__global__ void two_barriers_kernel(int* out) {
    if (threadIdx.x < 32) {
        named_barrier_sync(1, 64);
    } else {
        named_barrier_sync(2, 64);
    }
    out[threadIdx.x] = 1;
}
constexpr int kTwoBarriersLine = __LINE__ - 6;

TEST_F(BarrierTest, DeadlockNamesWhoWaitsWhere) {
    for_each_order([] {
        const DeviceArray<int> out(64);
        const auto report = fault_of([&] {
            launch({"two", 1, 64}, two_barriers_kernel, out.data());
        });
        ASSERT_TRUE(report);
        EXPECT_EQ(report->fault, Fault::Deadlock);
        EXPECT_EQ(report->source().line, kTwoBarriersLine);
        EXPECT_NE(report->message.find("32 threads, 0 to 31"), std::string::npos)
            << report->message;
        EXPECT_NE(report->message.find("32 threads, 32 to 63"), std::string::npos);
    });
}

__global__ void bad_named_kernel(int id, int threads) { named_barrier_sync(id, threads); }

TEST_F(BarrierTest, NamedBarriersAreOfWholeWarps) {
    for (const auto& [id, threads] : {std::pair{1, 33}, {16, 32}, {-1, 32}, {3, 0}}) {
        const auto report = fault_of([&, id = id, threads = threads] {
            launch({"bad", 1, 32}, bad_named_kernel, id, threads);
        });
        ASSERT_TRUE(report);
        EXPECT_EQ(report->fault, Fault::DivergentBarrier);
    }
}

TEST_F(BarrierTest, SitesAreCounted) {
    {
        const DeviceArray<int> in(64, 1), out(64);
        launch({"reverse", 1, 64}, reverse_kernel, in.data(), out.data());
    }
    const std::vector<Site> met = sites();
    ASSERT_EQ(met.size(), 1u);
    EXPECT_TRUE(met[0].file.ends_with("barriers_test.cpp"));
    EXPECT_EQ(met[0].kind, SiteKind::BlockBarrier);
    EXPECT_EQ(met[0].count, 64u);
    reset();
    EXPECT_TRUE(sites().empty());
}

TEST_F(BarrierTest, ALaunchThatNoDeviceTakesIsRefused) {
    const DeviceArray<int> out(1024);
    for (const auto& [grid, block] : {std::pair{dim3(1), dim3(1025)},
                                      {dim3(1), dim3(0)},
                                      {dim3(0), dim3(32)},
                                      {dim3(1, 65536), dim3(32)},
                                      {dim3(1), dim3(1, 1, 65)}}) {
        const auto report = fault_of([&, grid = grid, block = block] {
            launch({"early", grid, block}, early_return_kernel, 1024u, out.data());
        });
        ASSERT_TRUE(report);
        EXPECT_EQ(report->fault, Fault::InvalidLaunch);
    }
}

__global__ void throwing_kernel(int* out) {
    if (threadIdx.x == 3) __trap();
    out[threadIdx.x] = 1;
}

TEST_F(BarrierTest, ATrapIsReportedAndTheNextLaunchRuns) {
    const DeviceArray<int> in(32, 1), out(32);
    const auto report = fault_of([&] { launch({"trap", 2, 32}, throwing_kernel, out.data()); });
    ASSERT_TRUE(report);
    EXPECT_EQ(report->fault, Fault::Trap);
    EXPECT_EQ(report->thread.x, 3u);
    EXPECT_NE(report->text().find("kernel trap, block "), std::string::npos) << report->text();
    launch({"reverse", 1, 32}, reverse_kernel, in.data(), out.data());
    EXPECT_EQ(out.to_host(), std::vector<int>(32, 1));
}

}  // namespace
}  // namespace nearcell::simt
