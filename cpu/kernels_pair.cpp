// Keys of one pair of vectors: squared distance, negated dot product, L1 distance.
//
// Loop: 32 values of each vector per step into two F32x16, the 32 virtual lanes: 4 loads and 2 to 6
// arithmetic operations on AVX-512, bound by loads. The tail is padded with zeros, the lanes are
// summed by one tree: the same bits on every instruction set with fused multiply-adds.
#include <nearcell/cpu/simd.h>
#include <nearcell/kernels/kernel_table.h>

namespace {

template <class Step>
NEARCELL_INLINE float sum_over(const float* a, const float* b, size_t d, Step&& step) {
    F32x16 low = broadcast(0.0f), high = broadcast(0.0f);
    size_t j = 0;
    for (; j + 32 <= d; j += 32) {
        low = step(load(a + j), load(b + j), low);
        high = step(load(a + j + 16), load(b + j + 16), high);
    }
    if (j < d) {
        alignas(64) float tail_a[32] = {}, tail_b[32] = {};
        std::memcpy(tail_a, a + j, (d - j) * sizeof(float));
        std::memcpy(tail_b, b + j, (d - j) * sizeof(float));
        low = step(load(tail_a), load(tail_b), low);
        high = step(load(tail_a + 16), load(tail_b + 16), high);
    }
    return reduce_tree(add(low, high));
}

float l2_f32(const float* a, const float* b, size_t d) {
    return sum_over(
        a, b, d, [](F32x16 x, F32x16 y, F32x16 sum) __attribute__((always_inline)) {
            const F32x16 difference = sub(x, y);
            return fma(difference, difference, sum);
        });
}

float ip_f32(const float* a, const float* b, size_t d) {
    return -sum_over(
        a, b, d, [](F32x16 x, F32x16 y, F32x16 sum) __attribute__((always_inline)) {
            return fma(x, y, sum);
        });
}

float l1_f32(const float* a, const float* b, size_t d) {
    return sum_over(
        a, b, d, [](F32x16 x, F32x16 y, F32x16 sum) __attribute__((always_inline)) {
            return add(abs(sub(x, y)), sum);
        });
}

}  // namespace

namespace nearcell {

void NEARCELL_FILL(pair)(KernelTable& table) {
    table.l2_f32 = l2_f32;
    table.ip_f32 = ip_f32;
    table.l1_f32 = l1_f32;
}

}  // namespace nearcell
