// Fast rotation: Walsh-Hadamard transforms between multiplications by random signs.
//
// Loop: log2(n) passes of one addition and one subtraction for two values, the first four within
// registers (a shuffle, a multiplication and an addition for sixteen values). 4 transforms of about
// d values: some 4 d log2(d) additions against the 2 d^2 operations of a dense rotation. Bound by
// the first cache. Only additions and products: the same bits on every instruction set.
#include <nearcell/cpu/simd.h>
#include <nearcell/kernels/kernel_table.h>

namespace {

using nearcell::kRotationRounds;

// Sums in the lanes whose number has bit H clear, differences in the others: x_i + x_(i^H) and
// x_(i^H) - x_i.
template <int H>
NEARCELL_INLINE F32x16 butterfly(const F32x16& x) {
    alignas(64) static constexpr auto kPattern = [] {
        struct Pattern {
            float sign[16];
        } pattern{};
        for (int i = 0; i < 16; ++i)
            pattern.sign[i] = (i & H) != 0 ? -1.0f : 1.0f;
        return pattern;
    }();
    return add(swap_lanes<H>(x), mul(x, load(kPattern.sign)));
}

// n: a power of two.
void hadamard(float* x, size_t n) {
    if (n < 16) {
        for (size_t h = 1; h < n; h *= 2) {
            for (size_t i = 0; i < n; ++i) {
                if ((i & h) != 0) continue;
                const float a = x[i], b = x[i + h];
                x[i] = a + b;
                x[i + h] = a - b;
            }
        }
        return;
    }
    for (size_t i = 0; i < n; i += 16)
        store(x + i, butterfly<8>(butterfly<4>(butterfly<2>(butterfly<1>(load(x + i))))));
    for (size_t h = 16; h < n; h *= 2) {
        for (size_t first = 0; first < n; first += 2 * h) {
            for (size_t i = first; i < first + h; i += 16) {
                const F32x16 a = load(x + i), b = load(x + i + h);
                store(x + i, add(a, b));
                store(x + i + h, sub(a, b));
            }
        }
    }
}

// Sums and differences of the halves; of an odd number of values the middle one stays.
void mix_halves(float* x, size_t d) {
    const size_t half = d / 2;
    float* const upper = x + (d - half);
    size_t i = 0;
    for (; i + 16 <= half; i += 16) {
        const F32x16 a = load(x + i), b = load(upper + i);
        store(x + i, add(a, b));
        store(upper + i, sub(a, b));
    }
    for (; i < half; ++i) {
        const float a = x[i], b = upper[i];
        x[i] = a + b;
        upper[i] = a - b;
    }
}

void multiply(const float* factors, size_t d, float* x) {
    size_t j = 0;
    for (; j + 16 <= d; j += 16)
        store(x + j, mul(load(x + j), load(factors + j)));
    for (; j < d; ++j)
        x[j] *= factors[j];
}

void rotate_f32(const float* factors, size_t d, int inverse, float* x) {
    size_t n = 1;
    while (2 * n <= d)
        n *= 2;
    if (inverse == 0) {
        for (size_t round = 0; round < kRotationRounds; ++round) {
            multiply(factors + round * d, d, x);
            hadamard(round % 2 == 0 ? x : x + (d - n), n);
            if (round % 2 == 1) mix_halves(x, d);
        }
        multiply(factors + kRotationRounds * d, d, x);
        return;
    }
    multiply(factors + kRotationRounds * d, d, x);
    for (size_t round = kRotationRounds; round-- > 0;) {
        if (round % 2 == 1) mix_halves(x, d);
        hadamard(round % 2 == 0 ? x : x + (d - n), n);
        multiply(factors + round * d, d, x);
    }
}

}  // namespace

namespace nearcell {

void NEARCELL_FILL(rotate)(KernelTable& table) { table.rotate_f32 = rotate_f32; }

}  // namespace nearcell
