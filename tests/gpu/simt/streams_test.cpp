// The host's side: memory, copies, streams, events, and what is said about their misuse.
#include <numeric>
#include <thread>

#include <nearcell/core/error.h>
#include <nearcell/gpu/simt/simt.h>

#include "support.h"

namespace nearcell::simt {
namespace {

using StreamsTest = SimtTest;

__global__ void add_kernel(int* values, int by) { values[threadIdx.x] += by; }
__global__ void multiply_kernel(int* values, int by) { values[threadIdx.x] *= by; }

struct TwoStreams {
    const Stream first = create_stream(), second = create_stream();
    const Event added = create_event();
    ~TwoStreams() {
        destroy_stream(first);
        destroy_stream(second);
        destroy_event(added);
    }
};

// Adds on one stream, multiplies on another.
std::vector<int> add_and_multiply(const TwoStreams& streams, bool with_event) {
    const auto& [first, second, added] = streams;
    auto* const values = static_cast<int*>(device_allocate(128, first));
    fill_bytes(values, 0, 128, first);
    launch({"add", 1, 32, 0, first}, add_kernel, values, 3);
    record_event(added, first);
    if (with_event) wait_for_event(second, added);
    launch({"multiply", 1, 32, 0, second}, multiply_kernel, values, 5);
    std::vector<int> got(32);
    copy_to_host(got.data(), values, 128, second);
    synchronize(second);
    synchronize(first);
    device_free(values, first);
    synchronize(first);
    return got;
}

TEST_F(StreamsTest, EventsOrderStreams) {
    for (const bool deferred : {false, true}) {
        for (uint64_t seed = 1; seed <= 100; ++seed) {
            config().deferred_streams = deferred;
            config().seed = seed;
            ASSERT_EQ(add_and_multiply(TwoStreams{}, true), std::vector<int>(32, 15));
        }
    }
    EXPECT_EQ(counters().device_bytes, 0u);
}

TEST_F(StreamsTest, AMissingEventShowsInSomeOrder) {
    config().deferred_streams = true;
    int noticed = 0;
    for (uint64_t seed = 1; seed <= 100; ++seed) {
        config().seed = seed;
        const TwoStreams streams;
        const auto report = fault_of([&] { noticed += add_and_multiply(streams, false)[0] != 15; });
        if (!report) continue;
        ++noticed;  // multiplied before anything was written
        reset();
        config().deferred_streams = true;
    }
    EXPECT_GE(noticed, 30);
}

TEST_F(StreamsTest, DeferredWorkRunsWhenTheHostWaits) {
    config().deferred_streams = true;
    std::vector<int> host(32, 1), got(32, 0);
    auto* const pinned = static_cast<int*>(pinned_allocate(128));
    auto* const values = static_cast<int*>(device_allocate(128, {}));
    auto* const others = static_cast<int*>(device_allocate(128, {}));
    copy_to_device(values, host.data(), 128, {});
    host.assign(32, 50);  // was taken already
    copy_on_device(others, values, 128, {});
    launch({"add", 1, 32}, add_kernel, others, 1);
    copy_to_host(pinned, others, 128, {});
    pinned[0] = 77;
    synchronize({});
    EXPECT_EQ(std::vector<int>(pinned, pinned + 32), std::vector<int>(32, 2));
    copy_to_device(values, pinned, 128, {});
    pinned[5] = 9;  // pinned memory is read later
    copy_to_host(got.data(), values, 128, {});
    synchronize({});
    EXPECT_EQ(got[5], 9);
    device_free(values, {});
    device_free(others, {});
    synchronize({});
    pinned_free(pinned);
    EXPECT_EQ(counters().device_bytes, 0u);
    EXPECT_EQ(counters().peak_device_bytes, 256u);
}

TEST_F(StreamsTest, AnEventThatNeverComesIsReported) {
    config().deferred_streams = true;
    const Event event = create_event();
    record_event(event, {});
    reset();  // drops what was queued
    config().deferred_streams = true;
    wait_for_event({}, event);
    const auto report = fault_of([] { synchronize({}); });
    ASSERT_TRUE(report);
    EXPECT_EQ(report->fault, Fault::Deadlock);
    reset();
    destroy_event(event);
}

TEST_F(StreamsTest, AFullDeviceThrowsOutOfMemory) {
    config().device_bytes = 1000;
    void* const first = device_allocate(600, {});
    try {
        device_allocate(401, {});
        ADD_FAILURE() << "there were 400 bytes left";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::OutOfMemory);
    }
    void* const second = device_allocate(400, {});
    device_free(first, {});
    device_free(device_allocate(600, {}), {});
    device_free(second, {});
    EXPECT_EQ(device_properties().memory_bytes, 1000u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(device_allocate(0, {})) % 256, 0u);
}

TEST_F(StreamsTest, PinnedMemoryHasAnEnd) {
    const size_t before = pinned_bytes();
    config().pinned_bytes = before + 1000;
    void* const first = pinned_allocate(600);
    EXPECT_EQ(pinned_bytes(), before + 600);
    EXPECT_THROW(pinned_allocate(401), Error);
    pinned_free(pinned_allocate(400));
    pinned_free(first);
    EXPECT_EQ(pinned_bytes(), before);
}

TEST_F(StreamsTest, NoBytesNeedNoMemory) {
    copy_to_device(nullptr, nullptr, 0, {});
    copy_to_host(nullptr, nullptr, 0, {});
    copy_on_device(nullptr, nullptr, 0, {});
    fill_bytes(nullptr, 0, 0, {});
    EXPECT_EQ(counters().device_bytes, 0u);
}

TEST_F(StreamsTest, WrongCopiesAreReported) {
    std::vector<char> host(200);
    auto* const device = static_cast<char*>(device_allocate(100, {}));
    auto* const freed = static_cast<char*>(device_allocate(100, {}));
    device_free(freed, {});
    const std::vector<std::function<void()>> wrong = {
        [&] { copy_to_device(device, host.data(), 101, {}); },
        [&] { copy_to_device(device + 50, host.data(), 51, {}); },
        [&] { copy_to_device(host.data(), host.data(), 10, {}); },
        [&] { copy_to_host(host.data(), freed, 10, {}); },
        [&] { copy_on_device(device, host.data(), 10, {}); },
        [&] { fill_bytes(device + 99, 0, 2, {}); },
        [&] { device_free(device + 1, {}); },
        [&] { device_free(freed, {}); },
        [&] { device_free(host.data(), {}); },
        [&] { pinned_free(host.data()); },
    };
    for (const auto& call : wrong) {
        const auto report = fault_of(call);
        ASSERT_TRUE(report);
        EXPECT_EQ(report->fault, Fault::InvalidCopy);
        EXPECT_FALSE(report->message.empty());
    }
}

TEST_F(StreamsTest, ThreadsOfTheHostTakeTurns) {
    std::vector<std::vector<int>> got(4);
    std::vector<std::thread> threads;
    for (std::vector<int>& mine : got) {
        threads.emplace_back([&mine] {
            for (int i = 0; i < 20; ++i)
                mine = add_and_multiply(TwoStreams{}, true);
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    for (const std::vector<int>& mine : got)
        EXPECT_EQ(mine, std::vector<int>(32, 15));
    EXPECT_EQ(counters().launches, 4u * 20 * 2);
    EXPECT_EQ(counters().device_bytes, 0u);
}

struct Big {
    int values[300];
};
__global__ void big_kernel(Big by_value, int* out) {
    out[threadIdx.x] = by_value.values[threadIdx.x];
}

TEST_F(StreamsTest, ArgumentsAreCopied) {
    config().deferred_streams = true;
    Big big{};
    std::iota(std::begin(big.values), std::end(big.values), 4);
    const DeviceArray<int> out(300);
    launch({"big", 1, 300}, big_kernel, big, out.data());
    big.values[0] = -1;
    EXPECT_EQ(out.to_host()[0], 4);
    EXPECT_EQ(out.to_host()[299], 303);
}

}  // namespace
}  // namespace nearcell::simt
