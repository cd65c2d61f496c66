// Shuffles, votes, matches and reductions of a warp against plain models, for full and partial
// masks and in every order of lanes.
#include <array>
#include <bit>
#include <string>

#include <nearcell/core/random.h>
#include <nearcell/gpu/simt/simt.h>

#include "support.h"

namespace nearcell::simt {
namespace {

using WarpTest = SimtTest;
constexpr unsigned kAll = 0xffffffffu;

template <class T>
std::vector<T> random_values(size_t count, uint64_t seed) {
    Random random(seed);
    std::vector<T> values(count);
    for (T& value : values)
        value = static_cast<T>(random.next() % 1000) - static_cast<T>(300);
    return values;
}

enum class Way { Index, Xor, Up, Down };

template <class T>
__global__ void shuffle_kernel(Way way, int by, int width, const T* in, T* out) {
    const T value = in[threadIdx.x];
    T got{};
    if (way == Way::Index)
        got = __shfl_sync(kAll, value, by + static_cast<int>(threadIdx.x), width);
    if (way == Way::Xor) got = __shfl_xor_sync(kAll, value, by, width);
    if (way == Way::Up) got = __shfl_up_sync(kAll, value, static_cast<unsigned>(by), width);
    if (way == Way::Down) got = __shfl_down_sync(kAll, value, static_cast<unsigned>(by), width);
    out[threadIdx.x] = got;
}

// What the CUDA C++ Programming Guide says about each.
int model_source(Way way, int lane, int by, int width) {
    const int begin = lane / width * width, in_group = lane - begin;
    switch (way) {
        case Way::Index: return begin + (by + lane) % width;
        case Way::Xor: return (lane ^ by) < begin + width ? lane ^ by : lane;
        case Way::Up: return in_group - by >= 0 ? lane - by : lane;
        case Way::Down: return in_group + by < width ? lane + by : lane;
    }
    return -1;
}

template <class T>
void expect_shuffles() {
    const std::vector<T> values = random_values<T>(64, 3);
    const DeviceArray<T> in(values), out(64);
    for (const Way way : {Way::Index, Way::Xor, Way::Up, Way::Down}) {
        for (const int width : {1, 2, 8, 16, 32}) {
            for (const int by : {0, 1, 3, 7, 16, 31}) {
                launch({"shuffle", 1, 64}, shuffle_kernel<T>, way, by, width, in.data(),
                       out.data());
                const std::vector<T> got = out.to_host();
                for (int i = 0; i < 64; ++i) {
                    const int from = i / 32 * 32 + model_source(way, i % 32, by, width);
                    ASSERT_EQ(got[static_cast<size_t>(i)], values[static_cast<size_t>(from)])
                        << "way " << static_cast<int>(way) << ", width " << width << ", by " << by;
                }
            }
        }
    }
}

TEST_F(WarpTest, ShufflesEveryWay) {
    expect_shuffles<int>();
    expect_shuffles<float>();
    expect_shuffles<double>();
    expect_shuffles<unsigned long long>();
    expect_shuffles<int16_t>();
}

// Halves of a warp, and even and odd lanes, work apart.
__global__ void vote_kernel(unsigned mask, const int* in, unsigned* out) {
    const unsigned lane = threadIdx.x;
    const unsigned mine = ((mask >> lane) & 1u) != 0 ? mask : ~mask;
    unsigned* const row = out + lane * 10;
    row[0] = __ballot_sync(mine, in[lane] % 2);
    row[1] = static_cast<unsigned>(__any_sync(mine, in[lane] % 16 == 3));
    row[2] = static_cast<unsigned>(__all_sync(mine, in[lane] % 16 != 3));
    row[3] = __match_any_sync(mine, in[lane] % 4);
    row[4] = __reduce_add_sync(mine, static_cast<unsigned>(in[lane]));
    row[5] = static_cast<unsigned>(__reduce_min_sync(mine, in[lane]));
    row[6] = __reduce_max_sync(mine, static_cast<unsigned>(in[lane]));
    row[7] = __reduce_and_sync(mine, static_cast<unsigned>(in[lane]));
    row[8] = __reduce_or_sync(mine, static_cast<unsigned>(in[lane]));
    row[9] = __reduce_xor_sync(mine, static_cast<unsigned>(in[lane]));
}

std::array<unsigned, 10> model_votes(unsigned mask, unsigned lane, const std::vector<int>& values) {
    std::array<unsigned, 10> row{0, 0, 1, 0, 0, 0, 0, kAll, 0, 0};
    int least = 1 << 30;
    for (unsigned other = 0; other < 32; ++other) {
        if (((mask >> other) & 1u) == 0) continue;
        const int value = values[other];
        const auto bits = static_cast<unsigned>(value);
        if (value % 2 != 0) row[0] |= 1u << other;
        if (value % 16 == 3) row[1] = 1;
        if (value % 16 == 3) row[2] = 0;
        if (value % 4 == values[lane] % 4) row[3] |= 1u << other;
        row[4] += bits;
        least = std::min(least, value);
        row[6] = std::max(row[6], bits);
        row[7] &= bits;
        row[8] |= bits;
        row[9] ^= bits;
    }
    row[5] = static_cast<unsigned>(least);
    return row;
}

TEST_F(WarpTest, VotesAndReductionsOfItsMask) {
    const std::vector<int> values = random_values<int>(32, 9);
    const DeviceArray<int> in(values);
    for_each_order([&] {
        for (const unsigned mask : {kAll, 0xffffu, 0x55555555u, 0x80000001u}) {
            const DeviceArray<unsigned> out(320);
            launch({"vote", 1, 32}, vote_kernel, mask, in.data(), out.data());
            const std::vector<unsigned> got = out.to_host();
            for (unsigned lane = 0; lane < 32; ++lane) {
                const bool named = ((mask >> lane) & 1u) != 0;
                const auto expected = model_votes(named ? mask : ~mask, lane, values);
                for (unsigned i = 0; i < 10; ++i)
                    ASSERT_EQ(got[lane * 10 + i], expected[i]) << "lane " << lane << ", " << i;
            }
        }
    });
}

// Lanes that have returned are not waited for.
__global__ void remaining_kernel(unsigned* out) {
    if (threadIdx.x % 4 == 1) return;
    out[threadIdx.x] = __ballot_sync(kAll, 1);
}

TEST_F(WarpTest, ReturnedLanesAreNotWaitedFor) {
    for_each_order([] {
        const DeviceArray<unsigned> out(32, 0u);
        launch({"remaining", 1, 32}, remaining_kernel, out.data());
        EXPECT_EQ(out.to_host()[0], 0xddddddddu);
    });
}

__global__ void neighbour_kernel(const int* in, int* out) {
    SIMT_SHARED(values, int[32]);
    values[threadIdx.x] = in[threadIdx.x];
    __syncwarp();
    out[threadIdx.x] = values[(threadIdx.x + 1) % 32];
}

TEST_F(WarpTest, SyncwarpOrdersMemory) {
    const std::vector<int> values = random_values<int>(32, 4);
    const DeviceArray<int> in(values), out(32);
    for_each_order([&] {
        launch({"neighbour", 1, 32}, neighbour_kernel, in.data(), out.data());
        const std::vector<int> got = out.to_host();
        for (size_t i = 0; i < 32; ++i)
            ASSERT_EQ(got[i], values[(i + 1) % 32]);
    });
}

__global__ void absent_kernel(int* out) {
    if (threadIdx.x == 7) return;
    out[threadIdx.x] = __shfl_sync(kAll, 1, 7);
}
__global__ void outside_kernel(int* out) { out[threadIdx.x] = __shfl_sync(0xffffu, 1, 0); }
__global__ void outside_source_kernel(int* out) {
    if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffffu, 1, 20);
}
__global__ void mixed_kernel(int* out) {
    out[threadIdx.x] = threadIdx.x < 5 ? __any_sync(kAll, 1) : __shfl_sync(kAll, 1, 0);
}
// Lanes 15 and 16 wait for each other, each with another mask.
__global__ void crossed_kernel(int* out) {
    const unsigned mask = threadIdx.x < 16 ? 0x0001ffffu : 0xffff8000u;
    out[threadIdx.x] = __shfl_xor_sync(mask, 1, 1);
}

TEST_F(WarpTest, WrongMasksAreReported) {
    struct Case {
        void (*kernel)(int*);
        Fault fault;
    };
    for_each_order([] {
        for (const Case& wrong : {Case{absent_kernel, Fault::AbsentLane},
                                  {outside_kernel, Fault::BadMask},
                                  {outside_source_kernel, Fault::AbsentLane},
                                  {mixed_kernel, Fault::BadMask},
                                  {crossed_kernel, Fault::Deadlock}}) {
            const DeviceArray<int> out(32);
            const auto report = fault_of([&] {
                launch({"wrong", 1, 32}, wrong.kernel, out.data());
            });
            ASSERT_TRUE(report);
            EXPECT_EQ(report->fault, wrong.fault) << report->text();
            EXPECT_TRUE(report->source().file.ends_with("warp_test.cpp"));
        }
    });
}

}  // namespace
}  // namespace nearcell::simt
