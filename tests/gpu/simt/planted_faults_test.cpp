// Faults planted in kernels and in host code: each is found under every one of 100 seeds, with the
// kernel, the thread and the line that has it, and correct code is never accused.
#include <numeric>
#include <string>

#include <nearcell/gpu/simt/simt.h>

#include "support.h"

namespace nearcell::simt {
namespace {

constexpr int kSeeds = 100;

class PlantedFault : public SimtTest {
   protected:
    // Host code that launches a kernel with a fault in line `line`; 0: no line to tell.
    void expect_found(Fault fault, int line, const std::function<void()>& host_code) {
        int found = 0;
        for (int seed = 1; seed <= kSeeds; ++seed) {
            reset();
            config().seed = static_cast<uint64_t>(seed);
            config().resident_blocks = 4;
            const auto report = fault_of(host_code);
            if (!report) continue;
            ASSERT_EQ(report->fault, fault) << report->text();
            if (line != 0) {
                ASSERT_EQ(report->source().line, line) << report->text();
                ASSERT_TRUE(report->source().file.ends_with("planted_faults_test.cpp"));
                ASSERT_EQ(report->kernel, "planted");
            }
            ++found;
        }
        EXPECT_EQ(found, kSeeds);
    }
    void expect_silence(const std::function<void()>& host_code) {
        for (int seed = 1; seed <= kSeeds; ++seed) {
            reset();
            config().seed = static_cast<uint64_t>(seed);
            config().resident_blocks = 4;
            const auto report = fault_of(host_code);
            ASSERT_FALSE(report) << report->text();
        }
    }
};

// Memory that is given back when the device is reset, whatever happens before.
template <class T>
T* device_values(size_t size, T value = T{}) {
    const std::vector<T> values(size, value);
    auto* const memory = static_cast<T*>(device_allocate(size * sizeof(T), {}));
    copy_to_device(memory, values.data(), size * sizeof(T), {});
    return memory;
}

template <class... Parameters, class... Arguments>
void launch_planted(dim3 grid, dim3 block, void (*kernel)(Parameters...), Arguments... arguments) {
    launch({"planted", grid, block}, kernel, arguments...);
}

__global__ void missing_barrier(const float* in, float* out) {
    SIMT_SHARED(values, float[256]);
    values[threadIdx.x] = 0;
    __syncthreads();
    values[threadIdx.x] = in[threadIdx.x];
    out[threadIdx.x] = values[blockDim.x - 1 - threadIdx.x];
}

TEST_F(PlantedFault, MissingBlockBarrier) {
    expect_found(Fault::Race, 0, [] {
        launch_planted(1, 64, missing_barrier, device_values<float>(64), device_values<float>(64));
    });
    const auto report = fault_of([] {
        launch_planted(1, 64, missing_barrier, device_values<float>(64), device_values<float>(64));
    });
    ASSERT_TRUE(report);
    EXPECT_EQ(std::abs(report->source().line - report->other_source().line), 1) << report->text();
    EXPECT_NE(report->message.find("shared memory (values, byte "), std::string::npos);
}

// The barrier of the loop's end is missing: the next round's writes meet this round's reads.
__global__ void missing_second_barrier(const int* in, int* out) {
    SIMT_SHARED(value, int);
    for (int round = 0; round < 3; ++round) {
        if (threadIdx.x == 0) value = in[round];
        __syncthreads();
        out[threadIdx.x] += value;
    }
}

TEST_F(PlantedFault, MissingBarrierAfterReading) {
    expect_found(Fault::Race, 0, [] {
        launch_planted(1, 64, missing_second_barrier, device_values<int>(3),
                       device_values<int>(64));
    });
}

__global__ void warp_synchronous(const float* in, float* out) {
    SIMT_SHARED(sums, float[64]);
    const unsigned i = threadIdx.x;
    sums[i] = in[i];
    __syncthreads();
    if (i < 32) {
        for (unsigned half = 32; half > 0; half /= 2)
            sums[i] += sums[(i + half) % 64];
    }
    if (i == 0) *out = sums[0];
}

TEST_F(PlantedFault, MissingWarpBarrier) {
    expect_found(Fault::Race, 0, [] {
        launch_planted(1, 64, warp_synchronous, device_values<float>(64), device_values<float>(1));
    });
}

// Through a shuffle a lane knows that another is as far, but not that it sees its stores.
__global__ void shuffle_as_barrier(int* out) {
    SIMT_SHARED(values, int[32]);
    values[threadIdx.x] = 1;
    const int sum = __shfl_xor_sync(0xffffffffu, 1, 1);
    out[threadIdx.x] = sum + values[threadIdx.x ^ 1];
}

TEST_F(PlantedFault, AShuffleOrdersNoMemory) {
    expect_found(Fault::Race, __LINE__ - 4,
                 [] { launch_planted(1, 32, shuffle_as_barrier, device_values<int>(32)); });
}

__global__ void cross_block_sum(int* sum) {
    if (threadIdx.x == 0) *sum = *sum + 1;
}

TEST_F(PlantedFault, BlocksThatShareASum) {
    expect_found(Fault::Race, __LINE__ - 4,
                 [] { launch_planted(8, 32, cross_block_sum, device_values<int>(1)); });
}

__global__ void last_block(const int* in, int* partial, unsigned* tickets, int* out, bool fence) {
    SIMT_SHARED(is_last, bool);
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = in[blockIdx.x];
        if (fence) __threadfence();
        is_last = atomicAdd(tickets, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (!is_last || threadIdx.x != 0) return;
    for (unsigned block = 0; block < gridDim.x; ++block)
        *out += partial[block];
}
void launch_last_block(bool fence) {
    launch_planted(8, 32, last_block, device_values<int>(8), device_values<int>(8),
                   device_values<unsigned>(1), device_values<int>(1), fence);
}

TEST_F(PlantedFault, MissingFence) {
    expect_found(Fault::Race, 0, [] { launch_last_block(false); });
}
TEST_F(PlantedFault, ControlWithFence) {
    expect_silence([] { launch_last_block(true); });
}

__global__ void atomic_and_plain(int* counter, int* out) {
    atomicAdd(counter, 1);
    out[threadIdx.x] = *counter;
}

TEST_F(PlantedFault, APlainReadAmongAtomics) {
    expect_found(Fault::Race, 0, [] {
        launch_planted(1, 64, atomic_and_plain, device_values<int>(1), device_values<int>(64));
    });
}

__global__ void divergent_barrier(int* out) {
    if (threadIdx.x < 32) {
        __syncthreads();
        out[threadIdx.x] = 1;
    } else {
        out[threadIdx.x] = 2;
        __syncthreads();
    }
}

TEST_F(PlantedFault, DivergentBarrier) {
    expect_found(Fault::DivergentBarrier, 0,
                 [] { launch_planted(1, 64, divergent_barrier, device_values<int>(64)); });
}

__global__ void barrier_not_reached(int* out) {
    if (threadIdx.x < 40) __syncthreads();
    out[threadIdx.x] = 1;
}

TEST_F(PlantedFault, BarrierThatSomeNeverReach) {
    expect_found(Fault::MissedBarrier, __LINE__ - 5,
                 [] { launch_planted(1, 64, barrier_not_reached, device_values<int>(64)); });
}

__global__ void shuffle_from_exited(int* out) {
    if (threadIdx.x == 7) return;
    out[threadIdx.x] = __shfl_sync(0xffffffffu, 1, 7);
}

TEST_F(PlantedFault, ShuffleFromAnExitedLane) {
    expect_found(Fault::AbsentLane, __LINE__ - 4,
                 [] { launch_planted(1, 32, shuffle_from_exited, device_values<int>(32)); });
}

__global__ void shuffle_outside_mask(int* out) {
    if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffffu, 1, 20);
}

TEST_F(PlantedFault, ShuffleFromOutsideItsMask) {
    expect_found(Fault::AbsentLane, __LINE__ - 4,
                 [] { launch_planted(1, 32, shuffle_outside_mask, device_values<int>(32)); });
}

__global__ void beside_shared(int by, int* out) {
    SIMT_SHARED(first, int[64]);
    SIMT_SHARED(second, int[64]);
    first[threadIdx.x] = 1;
    second[threadIdx.x] = 2;
    __syncthreads();
    const int* const begin = first;  // UBSan would find an index of the array
    out[threadIdx.x] = begin[static_cast<int>(threadIdx.x) + by];
}

TEST_F(PlantedFault, BesideASharedVariable) {
    for (const int by : {1, -1}) {
        expect_found(Fault::OutOfBounds, __LINE__ - 5,
                     [by] { launch_planted(1, 64, beside_shared, by, device_values<int>(64)); });
    }
}

__global__ void beside_dynamic(int count, int* out) {
    SIMT_DYNAMIC_SHARED(values, int);
    if (threadIdx.x == 0) values[count] = 1;
    out[threadIdx.x] = 1;
}

TEST_F(PlantedFault, BesideDynamicSharedMemory) {
    expect_found(Fault::OutOfBounds, __LINE__ - 5, [] {
        launch({"planted", 1, 32, 40}, beside_dynamic, 10, device_values<int>(32));
    });
    expect_silence([] {
        launch({"planted", 1, 32, 40}, beside_dynamic, 9, device_values<int>(32));
    });
}

__global__ void count_up(int* out, int count) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i <= count) out[i] = i;
}
constexpr int kCountLine = __LINE__ - 2;

TEST_F(PlantedFault, BehindAnAllocation) {
    expect_found(Fault::OutOfBounds, kCountLine,
                 [] { launch_planted(4, 32, count_up, device_values<int>(100), 100); });
    const auto report =
        fault_of([] { launch_planted(4, 32, count_up, device_values<int>(100), 100); });
    ASSERT_TRUE(report);
    EXPECT_NE(report->message.find("at byte 400 of allocation"), std::string::npos)
        << report->text();
    EXPECT_EQ(report->block.x, 3u);
    EXPECT_EQ(report->thread.x, 4u);
}

TEST_F(PlantedFault, UseAfterFree) {
    expect_found(Fault::UseAfterFree, kCountLine, [] {
        int* const memory = device_values<int>(100);
        device_free(memory, {});
        device_values<int>(100);
        launch_planted(1, 32, count_up, memory, 99);
    });
}

TEST_F(PlantedFault, HostPointerInAKernel) {
    int* const near_null = reinterpret_cast<int*>(uintptr_t{64});
    expect_found(Fault::HostMemory, kCountLine, [] {
        std::vector<int> host(100);
        launch_planted(1, 32, count_up, host.data(), 99);
    });
    expect_found(Fault::HostMemory, kCountLine,
                 [=] { launch_planted(1, 32, count_up, near_null, 99); });
}

TEST_F(PlantedFault, PinnedMemoryInAKernel) {
    auto* const pinned = static_cast<int*>(pinned_allocate(400));
    expect_silence([=] { launch_planted(4, 32, count_up, pinned, 99); });
    EXPECT_EQ(pinned[99], 99);
    expect_found(Fault::HostMemory, kCountLine,
                 [=] { launch_planted(4, 32, count_up, pinned, 100); });
    pinned_free(pinned);
    expect_found(Fault::HostMemory, kCountLine,
                 [=] { launch_planted(4, 32, count_up, pinned, 99); });
}

__global__ void unwritten_shared(float* out) {
    SIMT_SHARED(values, float[32]);
    if (threadIdx.x != 5) values[threadIdx.x] = 1;
    __syncthreads();
    out[threadIdx.x] = values[31 - threadIdx.x];
}

TEST_F(PlantedFault, UnwrittenSharedMemory) {
    expect_found(Fault::UnwrittenRead, __LINE__ - 4,
                 [] { launch_planted(1, 32, unwritten_shared, device_values<float>(32)); });
}

__global__ void copy_values(const int* in, int* out) { out[threadIdx.x] = in[threadIdx.x]; }

TEST_F(PlantedFault, UnwrittenDeviceMemory) {
    expect_found(Fault::UnwrittenRead, __LINE__ - 3, [] {
        const auto* const in = static_cast<const int*>(device_allocate(128, {}));
        launch_planted(1, 32, copy_values, in, device_values<int>(32));
    });
}

__global__ void misaligned(const char* in, int* out) {
    out[threadIdx.x] = *reinterpret_cast<const int*>(in + 4 * threadIdx.x + 2);
}

TEST_F(PlantedFault, MisalignedRead) {
#if defined(NEARCELL_SANITIZED)
    GTEST_SKIP() << "UBSan ends the program at a misaligned access";
#endif
    expect_found(Fault::Misaligned, __LINE__ - 7, [] {
        launch_planted(1, 32, misaligned, device_values<char>(256), device_values<int>(32));
    });
}

__global__ void copy_without_wait(const float4* in, float4* out) {
    SIMT_SHARED(values, float4[32]);
    cp_async<16>(&values[threadIdx.x], &in[threadIdx.x]);
    cp_async_commit();
    __syncthreads();
    out[threadIdx.x] = load16(&values[31 - threadIdx.x]);
    cp_async_wait<0>();
}

TEST_F(PlantedFault, AsyncCopyThatNobodyWaitsFor) {
    expect_found(Fault::UnwrittenRead, __LINE__ - 5, [] {
        launch_planted(1, 32, copy_without_wait, device_values<float4>(32),
                       device_values<float4>(32));
    });
}

// Waits, but the other lanes need a barrier after the wait, not before it.
__global__ void wait_after_barrier(const float4* in, float4* out) {
    SIMT_SHARED(values, float4[32]);
    cp_async<16>(&values[threadIdx.x], &in[threadIdx.x]);
    cp_async_commit();
    __syncthreads();
    cp_async_wait<0>();
    out[threadIdx.x] = load16(&values[31 - threadIdx.x]);
}

TEST_F(PlantedFault, BarrierBeforeTheWait) {
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
        reset();
        config().seed = seed;
        const auto report = fault_of([] {
            launch_planted(1, 32, wait_after_barrier, device_values<float4>(32),
                           device_values<float4>(32));
        });
        ASSERT_TRUE(report);  // the reader or the copier may be first
        ASSERT_TRUE(report->fault == Fault::Race || report->fault == Fault::UnwrittenRead);
    }
}

// Launched early, every thread waits before it touches global memory, also those with nothing to
// do; launched otherwise none need.
__global__ void early_copy(const int* in, int* out, unsigned busy, unsigned waits_from,
                           unsigned waits_to) {
    SIMT_SHARED(before, int[32]);
    before[threadIdx.x] = 1;
    if (threadIdx.x >= waits_from && threadIdx.x < waits_to) wait_for_previous();
    if (threadIdx.x >= busy) return;
    out[threadIdx.x] = in[threadIdx.x] + before[threadIdx.x];
}
constexpr int kEarlyLine = __LINE__ - 2;

void launch_early(bool early, unsigned busy, unsigned waits_from, unsigned waits_to) {
    launch({"planted", 1, 32, 0, {}, early}, early_copy, device_values<int>(32),
           device_values<int>(32), busy, waits_from, waits_to);
}

TEST_F(PlantedFault, EarlyWithoutAWait) {
    expect_found(Fault::MissedWait, kEarlyLine, [] { launch_early(true, 32, 0, 0); });
    expect_found(Fault::MissedWait, kEarlyLine, [] { launch_early(true, 32, 1, 32); });
    expect_found(Fault::MissedWait, 0, [] { launch_early(true, 16, 0, 16); });
    const auto report = fault_of([] { launch_early(true, 31, 0, 31); });
    ASSERT_TRUE(report);
    EXPECT_EQ(report->thread.x, 31u);
    EXPECT_NE(report->message.find("returns without wait_for_previous()"), std::string::npos);
}
TEST_F(PlantedFault, ControlWithAWait) {
    expect_silence([] { launch_early(true, 16, 0, 32); });
    expect_silence([] { launch_early(false, 16, 0, 0); });
    reset();
    config().architecture = 89;
    const auto report = fault_of([] { launch_early(true, 32, 0, 32); });
    ASSERT_TRUE(report);
    EXPECT_EQ(report->fault, Fault::InvalidLaunch);
}

__global__ void much_shared(int* out) {
    SIMT_DYNAMIC_SHARED(values, int);
    values[threadIdx.x] = 1;
    out[threadIdx.x] = values[threadIdx.x];
}

TEST_F(PlantedFault, TooMuchDynamicSharedMemory) {
    const auto run = [](size_t bytes) {
        launch({"planted", 1, 32, bytes}, much_shared, device_values<int>(32));
    };
    expect_found(Fault::SharedMemoryLimit, 0, [&] { run(100 << 10); });
    for (const auto& [architecture, limit] :
         {std::pair{75, 64}, {80, 163}, {86, 99}, {89, 99}, {90, 227}, {100, 227}, {120, 99}}) {
        const auto most = static_cast<size_t>(limit) << 10;
        reset();
        config().architecture = architecture;
        EXPECT_EQ(device_properties().most_shared_bytes_per_block, most);
        const auto report = fault_of([&] { allow_shared_memory(much_shared, most + 16); });
        ASSERT_TRUE(report);
        EXPECT_EQ(report->fault, Fault::SharedMemoryLimit);
        allow_shared_memory(much_shared, most);
        allow_shared_memory(much_shared, most - 1024);  // as another thread may do meanwhile
        run(most);
    }
}

// 48 KiB of static variables and some dynamic memory.
__global__ void static_and_dynamic(int* out) {
    SIMT_SHARED(keys, float[4096]);
    SIMT_SHARED(ids, long long[4096]);
    SIMT_DYNAMIC_SHARED(more, float);
    keys[threadIdx.x] = more[threadIdx.x] = 1;
    ids[threadIdx.x] = 2;
    out[threadIdx.x] = static_cast<int>(keys[threadIdx.x]) + static_cast<int>(ids[threadIdx.x]);
}

TEST_F(PlantedFault, TooMuchSharedMemoryTogether) {
    expect_found(Fault::SharedMemoryLimit, __LINE__ - 8, [] {
        launch({"planted", 1, 128, 6144}, static_and_dynamic, device_values<int>(128));
    });
    expect_silence([] {
        allow_shared_memory(static_and_dynamic, 6144);
        launch({"planted", 1, 128, 6144}, static_and_dynamic, device_values<int>(128));
    });
}

__global__ void transpose(const float* in, float* out) {
    SIMT_SHARED(tile, float[16][17]);
    const unsigned x = threadIdx.x % 16, y = threadIdx.x / 16;
    for (unsigned at = 0; at < 2; ++at) {
        tile[y][x] = in[256 * at + threadIdx.x];
        __syncthreads();
        out[256 * at + threadIdx.x] = tile[x][y];
        __syncthreads();
    }
}

TEST_F(PlantedFault, ControlTranspose) {
    expect_silence([] {
        launch_planted(1, 256, transpose, device_values<float>(512), device_values<float>(512));
    });
}

// Bytes of one word that belong to different threads, and warps that meet apart from each other.
__global__ void neighbours(uint8_t* bytes, int* out) {
    SIMT_SHARED(values, int[64]);
    bytes[threadIdx.x] = static_cast<uint8_t>(bytes[threadIdx.x] + 1);
    values[threadIdx.x] = 1;
    named_barrier_sync(static_cast<int>(1 + threadIdx.x / 32), 32);
    out[threadIdx.x] = values[threadIdx.x ^ 31];
}

TEST_F(PlantedFault, ControlNeighbouringBytes) {
    expect_silence([] {
        launch_planted(1, 64, neighbours, device_values<uint8_t>(64), device_values<int>(64));
    });
}

}  // namespace
}  // namespace nearcell::simt
