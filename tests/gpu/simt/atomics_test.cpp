// Atomics on shared and global memory against sums, extremes and sets computed plainly.
#include <algorithm>
#include <numeric>

#include <nearcell/core/random.h>
#include <nearcell/gpu/simt/simt.h>

#include "support.h"

namespace nearcell::simt {
namespace {

using AtomicsTest = SimtTest;
enum Slot : unsigned { kAdd, kSub, kMin, kMax, kExchange, kSwap, kSlots };

template <class T>
__device__ void update_all(T* slots, T value, unsigned thread, unsigned* claimed) {
    atomicAdd(&slots[kAdd], value);
    atomicSub(&slots[kSub], value);
    atomicMin(&slots[kMin], value);
    atomicMax(&slots[kMax], value);
    const T before = atomicExch(&slots[kExchange], static_cast<T>(thread));
    if (before < static_cast<T>(1000)) atomicAdd(&claimed[static_cast<unsigned>(before)], 1u);
    if (atomicCAS(&slots[kSwap], static_cast<T>(5000), value) == static_cast<T>(5000))
        atomicAdd(&claimed[1000], 1u);
}

template <class T>
__global__ void shared_kernel(const T* in, T* global, T* out, unsigned* claimed) {
    SIMT_SHARED(slots, T[kSlots]);
    const unsigned thread = blockIdx.x * blockDim.x + threadIdx.x;
    if (threadIdx.x < kSlots)
        slots[threadIdx.x] = static_cast<T>(threadIdx.x < kExchange ? 100 : 5000);
    __syncthreads();
    update_all(slots, in[thread], thread, claimed);
    update_all(global, in[thread], thread, claimed + 1001);
    __syncthreads();
    if (threadIdx.x < kSlots) out[blockIdx.x * kSlots + threadIdx.x] = slots[threadIdx.x];
}

template <class T>
void expect_slots(const std::vector<T>& values, const T* slots) {
    T sum{};
    for (const T value : values)
        sum = static_cast<T>(sum + value);
    EXPECT_EQ(slots[kAdd], static_cast<T>(sum + 100));
    EXPECT_EQ(slots[kSub], static_cast<T>(100 - sum));
    EXPECT_EQ(slots[kMin], std::min(T{100}, *std::min_element(values.begin(), values.end())));
    EXPECT_EQ(slots[kMax], std::max(T{100}, *std::max_element(values.begin(), values.end())));
    EXPECT_NE(std::find(values.begin(), values.end(), slots[kSwap]), values.end());
}

template <class T>
void expect_atomics() {
    const unsigned blocks = 3, threads = 70;
    Random random(5);
    std::vector<T> values(blocks * threads);
    for (T& value : values)
        value = static_cast<T>(random.below(400));
    const DeviceArray<T> in(values), out(blocks * kSlots);
    const DeviceArray<T> global(std::vector<T>{100, 100, 100, 100, 5000, 5000});
    const DeviceArray<unsigned> claimed(2 * 1001, 0u);
    launch({"atomics", blocks, threads}, shared_kernel<T>, in.data(), global.data(), out.data(),
           claimed.data());
    const std::vector<T> got = out.to_host(), all = global.to_host();
    for (unsigned block = 0; block < blocks; ++block) {
        const auto begin = values.begin() + block * threads;
        expect_slots(std::vector<T>(begin, begin + threads), &got[block * kSlots]);
    }
    expect_slots(values, all.data());
    // Each exchange gave back a number that one other exchange had put there; the last is still
    // there.
    const std::vector<unsigned> claims = claimed.to_host();
    EXPECT_EQ(std::accumulate(claims.begin(), claims.begin() + 1000, 0u), blocks * (threads - 1));
    EXPECT_EQ(std::accumulate(claims.begin() + 1001, claims.begin() + 2001, 0u),
              blocks * threads - 1);
    EXPECT_EQ(*std::max_element(claims.begin(), claims.begin() + 1000), 1u);
    EXPECT_EQ(claims[1000], blocks);
    EXPECT_EQ(claims[2001], 1u);
}

TEST_F(AtomicsTest, EveryTypeAndOperation) {
    for_each_order([] {
        config().resident_blocks = 2;
        expect_atomics<int>();
        expect_atomics<unsigned>();
        expect_atomics<unsigned long long>();
        expect_atomics<float>();
    });
}

__global__ void bits_kernel(unsigned* bits, unsigned long long* wide) {
    SIMT_SHARED(shared, unsigned[3]);
    if (threadIdx.x < 3) shared[threadIdx.x] = bits[threadIdx.x];
    __syncthreads();
    const unsigned bit = 1u << threadIdx.x;
    atomicOr(&shared[0], bit & 0x0ff0u);
    atomicAnd(&shared[1], ~(bit & 0x0ff0u));
    atomicXor(&shared[2], bit);
    atomicOr(wide, 1ull << (threadIdx.x + 16));
    __syncthreads();
    if (threadIdx.x < 3) bits[threadIdx.x] = shared[threadIdx.x];
}

TEST_F(AtomicsTest, Bits) {
    for_each_order([] {
        const DeviceArray<unsigned> bits(std::vector<unsigned>{1u, 0xffffffffu, 0x12345678u});
        const DeviceArray<unsigned long long> wide(1, 1ull);
        launch({"bits", 1, 32}, bits_kernel, bits.data(), wide.data());
        const std::vector<unsigned> expected{0x0ff1u, 0xfffff00fu, 0xedcba987u};
        EXPECT_EQ(bits.to_host(), expected);
        EXPECT_EQ(wide.to_host()[0], 0x0000ffffffff0001ull);
    });
}

// A ticket from global memory decides who adds up what all blocks have published.
__global__ void last_block_kernel(const int* in, int* partial, unsigned* tickets, int* out) {
    SIMT_SHARED(is_last, bool);
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = in[blockIdx.x] * 3;
        __threadfence();
        is_last = atomicAdd(tickets, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (!is_last || threadIdx.x != 0) return;
    int sum = 0;
    for (unsigned block = 0; block < gridDim.x; ++block)
        sum += partial[block];
    *out = sum;
}

TEST_F(AtomicsTest, AFenceAndATicketPublishToOtherBlocks) {
    std::vector<int> values(20);
    std::iota(values.begin(), values.end(), 1);
    for_each_order([&] {
        config().resident_blocks = 4;
        const DeviceArray<int> in(values), partial(20), out(1);
        const DeviceArray<unsigned> tickets(1, 0u);
        launch({"last", 20, 32}, last_block_kernel, in.data(), partial.data(), tickets.data(),
               out.data());
        EXPECT_EQ(out.to_host()[0], 630);
    });
}

}  // namespace
}  // namespace nearcell::simt
