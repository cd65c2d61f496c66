// What blocks may read of each other: behind a fence, an atomic on a word, and an atomic on the
// same word.
#include <string>

#include <nearcell/gpu/simt/simt.h>

#include "support.h"

namespace nearcell::simt {
namespace {

using PublicationTest = SimtTest;

// All threads write; one of them speaks for the block. What is left out is said by `variant`.
enum Variant { kRight, kNoBarrier, kFenceBeforeBarrier, kOtherWord, kNoFence };

__global__ void handover_kernel(Variant variant, int* values, unsigned* words, int* sum) {
    SIMT_SHARED(is_last, bool);
    values[blockIdx.x * blockDim.x + threadIdx.x] = 1;
    if (variant == kFenceBeforeBarrier) __threadfence();
    if (variant != kNoBarrier) __syncthreads();
    if (threadIdx.x == 0) {
        if (variant == kRight || variant == kNoBarrier || variant == kOtherWord) __threadfence();
        const unsigned ticket = atomicAdd(&words[variant == kOtherWord ? blockIdx.x + 1 : 0], 1u);
        is_last = variant == kOtherWord ? blockIdx.x + 1 == gridDim.x : ticket + 1 == gridDim.x;
    }
    __syncthreads();
    if (!is_last || threadIdx.x != 0) return;
    for (unsigned i = 0; i < gridDim.x * blockDim.x; ++i)
        *sum += values[i];
}

std::optional<Report> hand_over(Variant variant, int& sum) {
    const DeviceArray<int> values(4 * 64, 0), total(1, 0);
    const DeviceArray<unsigned> words(5, 0u);
    const auto report = fault_of([&] {
        launch({"handover", 4, 64}, handover_kernel, variant, values.data(), words.data(),
               total.data());
    });
    sum = total.to_host()[0];
    return report;
}

TEST_F(PublicationTest, NeedsABarrierThenAFenceThenOneWord) {
    for_each_order(
        [] {
            for (const int resident : {1, 4}) {
                config().resident_blocks = resident;
                int sum = 0;
                const auto right = hand_over(kRight, sum);
                ASSERT_FALSE(right) << right->text();
                EXPECT_EQ(sum, 4 * 64);
                for (const Variant wrong :
                     {kNoBarrier, kFenceBeforeBarrier, kOtherWord, kNoFence}) {
                    const auto report = hand_over(wrong, sum);
                    // Who is last by its number has others to read only where they ran before.
                    if (!report && wrong == kOtherWord) continue;
                    ASSERT_TRUE(report) << wrong;
                    EXPECT_EQ(report->fault, Fault::Race);
                    EXPECT_NE(report->message.find("another block"), std::string::npos);
                }
            }
        },
        10);
}

// Block 0 tells block 1, block 1 tells block 2, who reads what block 0 wrote.
__global__ void chain_kernel(int* values, unsigned* flags, int* out) {
    if (threadIdx.x != 0) return;
    if (blockIdx.x == 0) {
        values[0] = 42;
    } else {
        while (load_relaxed(&flags[blockIdx.x]) == 0) {
        }
    }
    if (blockIdx.x == 2) {
        *out = values[0];
        return;
    }
    __threadfence();
    atomicExch(&flags[blockIdx.x + 1], 1u);
}

TEST_F(PublicationTest, GoesOnThroughOthers) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        config().seed = seed;
        config().resident_blocks = 3;
        const DeviceArray<int> values(1, 0), out(1, 0);
        const DeviceArray<unsigned> flags(3, 0u);
        launch({"chain", 3, 32}, chain_kernel, values.data(), flags.data(), out.data());
        ASSERT_EQ(out.to_host()[0], 42);
    }
}

// Of blocks that run one after another the first may not wait for the second.
TEST_F(PublicationTest, AThreadThatSpinsForEverIsReported) {
    config().order = Order::Descending;
    config().most_yields = 10000;
    const DeviceArray<int> values(1, 0), out(1, 0);
    const DeviceArray<unsigned> flags(3, 0u);
    const auto report = fault_of([&] {
        launch({"chain", 3, 32}, chain_kernel, values.data(), flags.data(), out.data());
    });
    ASSERT_TRUE(report);
    EXPECT_EQ(report->fault, Fault::Deadlock);
    EXPECT_TRUE(report->source().file.ends_with("publication_test.cpp"));
}

// What comes behind the fence is not told by it.
__global__ void late_write_kernel(int* values, unsigned* flag, int* out) {
    if (threadIdx.x != 0) return;
    if (blockIdx.x == 0) {
        __threadfence();
        values[0] = 42;
        atomicExch(flag, 1u);
    } else {
        while (load_relaxed(flag) == 0) {
        }
        *out = values[0];
    }
}

TEST_F(PublicationTest, AWriteBehindTheFenceIsNotPublished) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        config().seed = seed;
        config().resident_blocks = 2;
        const DeviceArray<int> values(1, 0), out(1, 0);
        const DeviceArray<unsigned> flag(1, 0u);
        const auto report = fault_of([&] {
            launch({"late", 2, 32}, late_write_kernel, values.data(), flag.data(), out.data());
        });
        ASSERT_TRUE(report);
        EXPECT_EQ(report->fault, Fault::Race);
    }
}

}  // namespace
}  // namespace nearcell::simt
