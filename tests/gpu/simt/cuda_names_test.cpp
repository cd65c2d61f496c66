// CUDA's types and intrinsics in plain C++: every pattern of the 16-bit types, and bit tricks
// against loops.
#include <cmath>

#include <nearcell/core/half.h>
#include <nearcell/core/random.h>
#include <nearcell/gpu/simt/simt.h>

#include "support.h"

namespace nearcell::simt {
namespace {

bool is_nan16(unsigned bits, unsigned infinity) { return (bits & 0x7fffu) > infinity; }

TEST(CudaHalf, EveryPatternOfHalf) {
    for (unsigned bits = 0; bits <= 0xffffu; ++bits) {
        const auto pattern = static_cast<uint16_t>(bits);
        const __half value = __ushort_as_half(pattern);
        const float wide = __half2float(value);
        ASSERT_EQ(__half_as_ushort(value), bits);
        ASSERT_EQ(std::bit_cast<uint32_t>(wide),
                  std::bit_cast<uint32_t>(float_from_float16(pattern)));
        ASSERT_EQ(__half_as_ushort(__float2half_rn(wide)),
                  is_nan16(bits, 0x7c00u) ? 0x7fffu : bits);
        ASSERT_EQ(__half_as_ushort(__float2half(wide * 1.0003f)),
                  is_nan16(bits, 0x7c00u) ? 0x7fffu : float16_from_float(wide * 1.0003f));
    }
}

TEST(CudaHalf, EveryPatternOfBfloat16) {
    for (unsigned bits = 0; bits <= 0xffffu; ++bits) {
        const auto pattern = static_cast<uint16_t>(bits);
        const __nv_bfloat16 value = __ushort_as_bfloat16(pattern);
        const float wide = __bfloat162float(value);
        ASSERT_EQ(__bfloat16_as_ushort(value), bits);
        ASSERT_EQ(std::bit_cast<uint32_t>(wide),
                  std::bit_cast<uint32_t>(float_from_bfloat16(pattern)));
        ASSERT_EQ(__bfloat16_as_ushort(__float2bfloat16_rn(wide)),
                  is_nan16(bits, 0x7f80u) ? 0x7fffu : bits);
        ASSERT_EQ(__bfloat16_as_ushort(__float2bfloat16(wide * 1.003f)),
                  is_nan16(bits, 0x7f80u) ? 0x7fffu : bfloat16_from_float(wide * 1.003f));
    }
}

// The half nearest to a double, found among its neighbours.
double nearest_half(double value) {
    const unsigned guess = float16_from_float(static_cast<float>(value));
    double best = INFINITY, nearest = 0;
    for (unsigned bits = guess < 2 ? 0 : guess - 2; bits <= guess + 2; ++bits) {
        const double candidate = float_from_float16(static_cast<uint16_t>(bits));
        const double distance = std::abs(candidate - value);
        if (distance < best || (distance == best && bits % 2 == 0)) {
            best = distance;
            nearest = candidate;
        }
    }
    return nearest;
}

TEST(CudaHalf, ArithmeticRoundsOnce) {
    Random random(8);
    for (int i = 0; i < 20000; ++i) {
        const __half a(static_cast<float>(random.normal())), b(static_cast<float>(random.normal()));
        const double x = __half2float(a), y = __half2float(b);
        ASSERT_EQ(static_cast<double>(__half2float(__hadd(a, b))), nearest_half(x + y));
        ASSERT_EQ(static_cast<double>(__half2float(__hmul(a, b))), nearest_half(x * y));
    }
    const __half2 sum = __hadd2(__floats2half2_rn(1, 2), __floats2half2_rn(3, 0.5f));
    EXPECT_EQ(__low2float(sum), 4.0f);
    EXPECT_EQ(__high2float(sum), 2.5f);
    EXPECT_EQ(sizeof(__half2), 4u);
    EXPECT_EQ(sizeof(__nv_bfloat162), 4u);
}

TEST(CudaMath, BitTricks) {
    Random random(2);
    for (int i = 0; i < 5000; ++i) {
        const auto x = static_cast<unsigned>(random.next() >> random.below(33));
        const auto y = static_cast<unsigned>(random.next());
        int count = 0, first = 0, leading = 32;
        unsigned reversed = 0;
        for (int bit = 0; bit < 32; ++bit) {
            if (((x >> bit) & 1u) == 0) continue;
            ++count;
            if (first == 0) first = bit + 1;
            leading = 31 - bit;
            reversed |= 1u << (31 - bit);
        }
        ASSERT_EQ(__popc(x), count);
        ASSERT_EQ(__ffs(static_cast<int>(x)), first);
        ASSERT_EQ(__clz(static_cast<int>(x)), leading);
        ASSERT_EQ(__brev(x), reversed);
        ASSERT_EQ(__popcll(uint64_t{x} << 32 | y), count + __popc(y));
        const auto high = static_cast<long long>(uint64_t{x} << 32);
        ASSERT_EQ(__ffsll(high), first == 0 ? 0 : first + 32);
        ASSERT_EQ(__clzll(high), x == 0 ? 64 : leading);
        ASSERT_EQ(__umulhi(x, y), static_cast<unsigned>(uint64_t{x} * y >> 32));
        const unsigned shift = y % 32;
        ASSERT_EQ(__funnelshift_r(x, y, shift), shift == 0 ? x : x >> shift | y << (32 - shift));
        ASSERT_EQ(__funnelshift_l(x, y, shift), shift == 0 ? y : y << shift | x >> (32 - shift));
    }
    EXPECT_EQ(__byte_perm(0x33221100u, 0x77665544u, 0x7065u), 0x77006655u);
    EXPECT_EQ(__byte_perm(0x33221180u, 0, 0x9910u), 0x00001180u);
    EXPECT_EQ(__byte_perm(0x33221180u, 0, 0x0008u) & 0xffu, 0xffu);
}

TEST(CudaMath, DotProductsOfBytes) {
    Random random(4);
    for (int i = 0; i < 2000; ++i) {
        const auto a = static_cast<unsigned>(random.next()),
                   b = static_cast<unsigned>(random.next());
        int sum = -7;
        unsigned unsigned_sum = 7;
        for (int byte = 0; byte < 4; ++byte) {
            const unsigned x = a >> (8 * byte) & 255u, y = b >> (8 * byte) & 255u;
            unsigned_sum += x * y;
            const int signed_x = x < 128 ? static_cast<int>(x) : static_cast<int>(x) - 256;
            const int signed_y = y < 128 ? static_cast<int>(y) : static_cast<int>(y) - 256;
            sum += signed_x * signed_y;
        }
        ASSERT_EQ(__dp4a(static_cast<int>(a), static_cast<int>(b), -7), sum);
        ASSERT_EQ(__dp4a(a, b, 7u), unsigned_sum);
    }
}

TEST(CudaMath, RoundedArithmetic) {
    EXPECT_EQ(__fmaf_rn(1 + 0x1p-23f, 1 + 0x1p-23f, -1.0f - 0x1p-22f), 0x1p-46f);
    EXPECT_EQ(__float_as_uint(__uint_as_float(0x7fc12345u)), 0x7fc12345u);
    EXPECT_EQ(__int_as_float(__float_as_int(-1.5f)), -1.5f);
    EXPECT_EQ(min(3, 5) + max(3, 5), 8);
    EXPECT_EQ(__float2int_rn(2.5f), 2);
}

}  // namespace
}  // namespace nearcell::simt
