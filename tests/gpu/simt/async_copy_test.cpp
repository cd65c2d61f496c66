// Copies that run beside a thread: what it sees after each wait, in which order, and what becomes
// of bytes that are not to be read.
#include <numeric>

#include <nearcell/gpu/simt/simt.h>

#include "support.h"

namespace nearcell::simt {
namespace {

using AsyncCopyTest = SimtTest;

// Three tiles are kept under way; each thread reads its neighbour's part of the oldest.
__global__ void pipeline_kernel(const float4* in, int tiles, float4* out) {
    SIMT_SHARED(stages, float4[4][64]);
    const auto load = [&](int tile) {
        if (tile < tiles)
            cp_async<16>(&stages[tile % 4][threadIdx.x],
                         &in[tile * 64 + static_cast<int>(threadIdx.x)]);
        cp_async_commit();
    };
    for (int tile = 0; tile < 3; ++tile)
        load(tile);
    for (int tile = 0; tile < tiles; ++tile) {
        cp_async_wait<2>();
        __syncthreads();
        load(tile + 3);
        out[tile * 64 + static_cast<int>(threadIdx.x)] = load16(&stages[tile % 4][threadIdx.x ^ 1]);
    }
    cp_async_wait<0>();
}

TEST_F(AsyncCopyTest, GroupsArriveInOrder) {
    const int tiles = 9;
    std::vector<float4> values(static_cast<size_t>(tiles) * 64);
    for (size_t i = 0; i < values.size(); ++i) {
        const auto first = static_cast<float>(4 * i);
        values[i] = {first, first + 1, first + 2, first + 3};
    }
    for_each_order([&] {
        const DeviceArray<float4> in(values), out(values.size());
        launch({"pipeline", 1, 64}, pipeline_kernel, in.data(), tiles, out.data());
        const std::vector<float4> got = out.to_host();
        for (size_t i = 0; i < got.size(); ++i) {
            ASSERT_EQ(got[i].x, values[i ^ 1].x);
            ASSERT_EQ(got[i].w, values[i ^ 1].w);
        }
    });
}

template <int kBytes>
__global__ void partial_kernel(const unsigned char* in, unsigned valid, unsigned char* out) {
    SIMT_SHARED(rows, uint4[32]);
    auto* const mine = reinterpret_cast<unsigned char*>(&rows[threadIdx.x]);
    cp_async<kBytes>(mine, in + threadIdx.x * kBytes, valid);
    cp_async_commit();
    cp_async_wait<0>();
    for (unsigned i = 0; i < kBytes; ++i)
        out[threadIdx.x * kBytes + i] = mine[i];
}

template <int kBytes>
void expect_partial() {
    std::vector<unsigned char> values(32 * kBytes);
    std::iota(values.begin(), values.end(), static_cast<unsigned char>(1));
    for (unsigned valid = 0; valid <= kBytes; ++valid) {
        const DeviceArray<unsigned char> in(values), out(values.size());
        launch({"partial", 1, 32}, partial_kernel<kBytes>, in.data(), valid, out.data());
        const std::vector<unsigned char> got = out.to_host();
        for (size_t i = 0; i < got.size(); ++i)
            ASSERT_EQ(got[i], i % kBytes < valid ? values[i] : 0) << valid << " of " << kBytes;
    }
}

TEST_F(AsyncCopyTest, BytesThatAreNotValidBecomeZero) {
    for_each_order([] {
        expect_partial<4>();
        expect_partial<8>();
        expect_partial<16>();
    });
}

// Nothing valid: the address may be anywhere.
__global__ void nothing_kernel(unsigned* out) {
    SIMT_SHARED(value, uint4);
    cp_async<16>(&value, nullptr, 0);
    cp_async_commit();
    cp_async_wait<0>();
    *out = value.w;
}
__global__ void forgotten_kernel(const uint4* in) {
    SIMT_SHARED(value, uint4);
    cp_async<16>(&value, in);
}
__global__ void uneven_kernel(const uint4* in) {
    SIMT_SHARED(values, uint4[2]);
    cp_async<16>(reinterpret_cast<char*>(&values[0]) + 4, in);
}
__global__ void to_global_kernel(const uint4* in) {
    cp_async<16>(const_cast<uint4*>(in) + 1, in);
    cp_async_commit();
    cp_async_wait<0>();
}

TEST_F(AsyncCopyTest, WhatIsNotRead) {
    const DeviceArray<unsigned> out(1);
    launch({"nothing", 1, 1}, nothing_kernel, out.data());
    EXPECT_EQ(out.to_host()[0], 0u);
}

TEST_F(AsyncCopyTest, MisuseIsReported) {
    struct Case {
        void (*kernel)(const uint4*);
        Fault fault;
    };
    const DeviceArray<uint4> in(2, uint4{1, 2, 3, 4});
    for (const Case& wrong : {Case{forgotten_kernel, Fault::UnwrittenRead},
                              {uneven_kernel, Fault::Misaligned},
                              {to_global_kernel, Fault::OutOfBounds}}) {
        const auto report = fault_of([&] { launch({"wrong", 1, 1}, wrong.kernel, in.data()); });
        ASSERT_TRUE(report);
        EXPECT_EQ(report->fault, wrong.fault) << report->text();
    }
}

__global__ void wide_kernel(const float4* in, float4* out, const int* limit, int* seen) {
    store16(&out[threadIdx.x], load16(&in[threadIdx.x]));
    seen[threadIdx.x] = load_relaxed(limit);
    atomicMin(const_cast<int*>(limit), static_cast<int>(threadIdx.x));
}

TEST_F(AsyncCopyTest, WideAndRelaxedAccesses) {
    for_each_order([] {
        const DeviceArray<float4> in(32, float4{1, 2, 3, 4}), out(32);
        const DeviceArray<int> limit(1, 1000), seen(32);
        launch({"wide", 1, 32}, wide_kernel, in.data(), out.data(), limit.data(), seen.data());
        for (const float4& value : out.to_host())
            ASSERT_EQ(value.x + value.y + value.z + value.w, 10);
        for (const int value : seen.to_host())
            ASSERT_TRUE(value == 1000 || (value >= 0 && value < 32));
        ASSERT_EQ(limit.to_host()[0], 0);
    });
}

}  // namespace
}  // namespace nearcell::simt
