// Tensor-core products and their loads against double precision. The fragments are filled here by
// the layout that the PTX manual prints, element by element, not by the words of matrix.h.
#include <cmath>
#include <string>

#include <nearcell/core/half.h>
#include <nearcell/core/random.h>
#include <nearcell/gpu/simt/simt.h>

#include "support.h"

namespace nearcell::simt {
namespace {

using MatrixTest = SimtTest;

enum class Kind { Half, Bfloat16, Tf32, Int8 };

// Each lane brings its registers and takes its sums.
template <Kind kKind, class T>
__global__ void product_kernel(const unsigned* a_registers, const unsigned* b_registers, T* sums) {
    const unsigned lane = threadIdx.x % 32;
    unsigned a[4], b[2];
    T d[4];
    for (unsigned i = 0; i < 4; ++i) {
        a[i] = a_registers[lane * 4 + i];
        d[i] = sums[threadIdx.x * 4 + i];
    }
    for (unsigned i = 0; i < 2; ++i)
        b[i] = b_registers[lane * 2 + i];
    if constexpr (kKind == Kind::Half) mma_m16n8k16_half(d, a, b);
    if constexpr (kKind == Kind::Bfloat16) mma_m16n8k16_bfloat16(d, a, b);
    if constexpr (kKind == Kind::Tf32) mma_m16n8k8_tf32(d, a, b);
    if constexpr (kKind == Kind::Int8) mma_m16n8k32_int8(d, a, b);
    for (unsigned i = 0; i < 4; ++i)
        sums[threadIdx.x * 4 + i] = d[i];
}

struct Place {
    unsigned row, column;
};

// PTX ISA, "Matrix Fragments for mma.m16n8k16 / m16n8k8 / m16n8k32": where element i of a lane
// lies.
Place place_of_a(Kind kind, unsigned lane, unsigned i) {
    const unsigned group = lane >> 2, in_group = lane % 4;
    switch (kind) {
        case Kind::Half:
        case Kind::Bfloat16:
            return {(i < 2 || (i >= 4 && i < 6)) ? group : group + 8,
                    (in_group * 2) + (i & 1u) + (i >= 4 ? 8u : 0u)};
        case Kind::Tf32:
            return {(i == 0 || i == 2) ? group : group + 8,
                    (i == 0 || i == 1) ? in_group : in_group + 4};
        case Kind::Int8:
            return {(i < 4 || (i >= 8 && i < 12)) ? group : group + 8,
                    (in_group * 4) + (i & 3u) + (i >= 8 ? 16u : 0u)};
    }
    return {};
}
Place place_of_b(Kind kind, unsigned lane, unsigned i) {  // row is k
    const unsigned group = lane >> 2, in_group = lane % 4;
    switch (kind) {
        case Kind::Half:
        case Kind::Bfloat16: return {(in_group * 2) + (i & 1u) + (i >= 2 ? 8u : 0u), group};
        case Kind::Tf32: return {i == 0 ? in_group : in_group + 4, group};
        case Kind::Int8: return {(in_group * 4) + (i & 3u) + (i >= 4 ? 16u : 0u), group};
    }
    return {};
}
Place place_of_d(unsigned lane, unsigned i) {
    return {i < 2 ? lane >> 2 : (lane >> 2) + 8, (lane % 4) * 2 + (i & 1u)};
}

unsigned inner_size(Kind kind) { return kind == Kind::Int8 ? 32 : kind == Kind::Tf32 ? 8 : 16; }

// Puts values into 32-bit registers, the first lowest; returns what the elements are then.
double store_element(Kind kind, double value, unsigned i, std::vector<unsigned>& registers,
                     unsigned lane, unsigned per_lane) {
    const unsigned each = kind == Kind::Int8 ? 4 : kind == Kind::Tf32 ? 1 : 2, width = 32 / each;
    unsigned bits = 0;
    double stored = 0;
    const auto rounded = static_cast<float>(value);
    switch (kind) {
        case Kind::Half:
            bits = float16_from_float(rounded);
            stored = float_from_float16(static_cast<uint16_t>(bits));
            break;
        case Kind::Bfloat16:
            bits = bfloat16_from_float(rounded);
            stored = float_from_bfloat16(static_cast<uint16_t>(bits));
            break;
        case Kind::Tf32:
            bits = round_to_tf32(rounded);
            stored = std::bit_cast<float>(bits);
            break;
        case Kind::Int8: {
            const auto integer = static_cast<int8_t>(std::lround(value * 40));
            bits = static_cast<uint8_t>(integer);
            stored = integer;
        }
    }
    registers[lane * per_lane + i / each] |= bits << (i % each * width);
    return stored;
}

template <Kind kKind, class T>
void expect_product(uint64_t seed) {
    const unsigned inner = inner_size(kKind), warps = 2;
    Random random(seed);
    std::vector<unsigned> a_registers(128), b_registers(64);
    std::vector<double> a(16 * inner), b(inner * 8);
    const unsigned a_each = 16 * inner / 32, b_each = inner * 8 / 32;
    for (unsigned lane = 0; lane < 32; ++lane) {
        for (unsigned i = 0; i < a_each; ++i) {
            const Place at = place_of_a(kKind, lane, i);
            a[at.row * inner + at.column] =
                store_element(kKind, random.normal(), i, a_registers, lane, 4);
        }
        for (unsigned i = 0; i < b_each; ++i) {
            const Place at = place_of_b(kKind, lane, i);
            b[at.row * 8 + at.column] =
                store_element(kKind, random.normal(), i, b_registers, lane, 2);
        }
    }
    std::vector<T> start(warps * 128);
    for (T& value : start)
        value = static_cast<T>(random.normal() * 10);
    const DeviceArray<unsigned> a_device(a_registers), b_device(b_registers);
    const DeviceArray<T> sums(start);
    launch({"product", 1, warps * 32}, product_kernel<kKind, T>, a_device.data(), b_device.data(),
           sums.data());
    const std::vector<T> got = sums.to_host();
    for (unsigned at = 0; at < got.size(); ++at) {
        const Place place = place_of_d(at / 4 % 32, at % 4);
        double exact = static_cast<double>(start[at]);
        double size = std::abs(exact);
        for (unsigned k = 0; k < inner; ++k) {
            const double term = a[place.row * inner + k] * b[k * 8 + place.column];
            exact += term;
            size += std::abs(term);
        }
        const double allowed = kKind == Kind::Int8 ? 0 : size * inner * 0x1p-24;
        ASSERT_LE(std::abs(static_cast<double>(got[at]) - exact), allowed) << "element " << at;
    }
}

TEST_F(MatrixTest, ProductsInDoublePrecision) {
    for_each_order([] {
        for (uint64_t seed = 1; seed <= 5; ++seed) {
            expect_product<Kind::Half, float>(seed);
            expect_product<Kind::Bfloat16, float>(seed);
            expect_product<Kind::Tf32, float>(seed);
            expect_product<Kind::Int8, int>(seed);
        }
    });
}

TEST_F(MatrixTest, Tf32HasElevenBitsAndTiesGoAway) {
    Random random(3);
    for (int i = 0; i < 20000; ++i) {
        const auto value = static_cast<float>(random.normal() * std::exp2(random.below(40)));
        int exponent = 0;
        const double fraction = std::frexp(static_cast<double>(value), &exponent);
        const double expected = std::ldexp(std::round(std::ldexp(fraction, 11)), exponent - 11);
        ASSERT_EQ(static_cast<double>(std::bit_cast<float>(round_to_tf32(value))), expected);
    }
    EXPECT_EQ(std::bit_cast<float>(round_to_tf32(1 + 0x1p-11f)), 1 + 0x1p-10f);
    EXPECT_TRUE(std::isinf(std::bit_cast<float>(round_to_tf32(INFINITY))));
}

__global__ void load_kernel(const uint16_t* in, bool transposed, unsigned* out) {
    SIMT_SHARED(rows, uint4[32]);
    rows[threadIdx.x] = reinterpret_cast<const uint4*>(in)[threadIdx.x];
    __syncwarp();
    unsigned registers[4];
    if (transposed) {
        ldmatrix_x4_transposed(registers, &rows[threadIdx.x]);
    } else {
        ldmatrix_x4(registers, &rows[threadIdx.x]);
    }
    for (unsigned i = 0; i < 4; ++i)
        out[threadIdx.x * 4 + i] = registers[i];
}

TEST_F(MatrixTest, LoadsFourMatrices) {
    std::vector<uint16_t> values(256);
    for (size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<uint16_t>(i * 37 + 5);
    for_each_order([&] {
        for (const bool transposed : {false, true}) {
            const DeviceArray<uint16_t> in(values);
            const DeviceArray<unsigned> out(128);
            launch({"load", 1, 32}, load_kernel, in.data(), transposed, out.data());
            const std::vector<unsigned> got = out.to_host();
            for (unsigned at = 0; at < 256; ++at) {  // two elements of a register
                const unsigned lane = at / 8, matrix = at / 2 % 4, along = lane % 4 * 2 + at % 2;
                const unsigned row = transposed ? along : lane / 4;
                const unsigned column = transposed ? lane / 4 : along;
                const unsigned element = got[lane * 4 + matrix] >> (16 * (at % 2)) & 0xffffu;
                ASSERT_EQ(element, values[matrix * 64 + row * 8 + column]);
            }
        }
    });
}

template <Kind kKind, class T>
std::optional<Report> run_product(unsigned threads) {
    const DeviceArray<unsigned> a(128, 0u), b(64, 0u);
    const DeviceArray<T> sums(256, T{});
    return fault_of([&] {
        launch({"product", 1, threads}, product_kernel<kKind, T>, a.data(), b.data(), sums.data());
    });
}

TEST_F(MatrixTest, WhatADeviceLacksIsReported) {
    config().architecture = 75;
    const auto bfloat16 = run_product<Kind::Bfloat16, float>(32);
    const auto tf32 = run_product<Kind::Tf32, float>(32);
    ASSERT_TRUE(bfloat16 && tf32);
    EXPECT_EQ(bfloat16->fault, Fault::Unsupported);
    EXPECT_EQ(tf32->fault, Fault::Unsupported);
    EXPECT_FALSE((run_product<Kind::Half, float>(32)));
    EXPECT_FALSE((run_product<Kind::Int8, int>(32)));
    const auto partial = run_product<Kind::Half, float>(48);
    ASSERT_TRUE(partial);
    EXPECT_EQ(partial->fault, Fault::AbsentLane);
}

}  // namespace
}  // namespace nearcell::simt
