// Bits of one a dimension with their factors (quantize/bits_codec.h): RaBitQ of Gao, Long,
// "RaBitQ: quantizing high-dimensional vectors with a theoretical error bound for approximate
// nearest neighbor search", 2024, section 3. Sums are in double precision and in the order of
// dimensions, as the codec's, so that every byte is the same: a thread goes through a row, 32
// dimensions at a time, which its warp brings to shared memory for 32 rows. Memory-bound: a row of
// d dimensions is 4 d bytes read, d / 8 + 8 written, and 2 d additions of doubles; on GPUs for
// consumers, which do doubles at 1/64 of their rate, these bound it.
#pragma once

#include <nearcell/core/half.h>
#include <nearcell/gpu/kernels/encode_rows.cuh>

namespace nearcell::gpu {

// As the codec's functions of these names.
SIMT_DEVICE float to_finite(double value) {
    const auto largest = static_cast<double>(float_from_bfloat16(0x7f7f));
    if (value < -largest) return static_cast<float>(-largest);
    return static_cast<float>(largest < value ? largest : value);
}
SIMT_DEVICE unsigned to_half(float value) { return bfloat16_from_float(value); }

// The two words of a row's factors, from |x|^2 and half the sum of magnitudes. Rows of no length
// worth speaking of have no scale.
SIMT_DEVICE void write_factors(double square, double dot, unsigned dim, bool is_origin,
                               uint32_t* words) {
    unsigned scale = 0;
    auto bias = static_cast<float>(square), error = static_cast<float>(2.0 * sqrt(square));
    if (!is_origin) {
        const double norm = 0.25 * static_cast<double>(dim);  // exact, as a sum of quarters is
        const double excess = square * norm / (dot * dot) - 1.0;
        const double tangent = 0.0 < excess ? excess : 0.0;
        const auto freedom = static_cast<double>((dim < 2 ? 2 : dim) - 1);
        scale = to_half(to_finite(square / dot));
        const auto rounded = static_cast<double>(float_from_bfloat16(static_cast<uint16_t>(scale)));
        bias = to_finite(square - rounded * rounded * norm);
        error = to_finite(2.0 * 1.9 * sqrt(square * tangent / freedom));
    }
    words[0] = scale | to_half(bias) << 16;
    words[1] = bfloat16_below(-error) & 0x7fffu;  // its magnitude, rounded up
}

// Dimension j of 32 rows, which is this lane's. Some loads at a time are under way; all would take
// too many registers.
SIMT_DEVICE void stage_rows(const CodedRows& rows, unsigned first, unsigned j,
                            float (&to)[32][33]) {
    SIMT_NO_UNROLL
    for (unsigned some = 0; some < 32; some += 4) {
        SIMT_UNROLL
        for (unsigned i = some; i < some + 4; ++i) {
            if (first + i < rows.x.count) to[i][threadIdx.x % 32] = rows.value(first + i, j);
        }
    }
}

__global__ void __launch_bounds__(kEncodeThreads) encode_bits(CodedRows rows, CodeOutput out) {
    constexpr double kLeastSquare = 1e-30;
    SIMT_SHARED(staged, float[kEncodeThreads / 32][32][33]);
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, dim = rows.x.dim;
    const unsigned first = blockIdx.x * kEncodeThreads + warp * 32, row = first + lane;
    const bool has_row = row < rows.x.count;
    uint32_t* const code = out.codes + size_t{row} * out.words;
    double square = 0, dot = 0;
    for (unsigned begin = 0; begin < dim; begin += 32) {
        const unsigned dims = min(dim - begin, 32u);
        if (lane < dims) stage_rows(rows, first, begin + lane, staged[warp]);
        __syncwarp();
        unsigned bits = 0;
        for (unsigned j = 0; j < dims && has_row; ++j) {
            const float value = staged[warp][lane][j];
            const auto x = static_cast<double>(value);
            square += x * x;
            dot += 0.5 * fabs(x);
            bits |= (value >= 0.0f ? 1u : 0u) << j;
        }
        if (has_row) code[begin / 32] = bits;
        __syncwarp();  // before the next values overwrite what was just read
    }
    if (!has_row) return;
    const bool is_origin = !(square > kLeastSquare);
    for (unsigned begin = 0; begin < dim && is_origin; begin += 32)
        code[begin / 32] = 0xffffffffu >> (32 - min(dim - begin, 32u));
    // Of infinities: which NaN comes of them is each machine's own.
    if (!(square < static_cast<double>(__uint_as_float(0x7f800000u)))) atomicOr(out.misfits, 1u);
    write_factors(square, dot, dim, is_origin, code + out.words - 2);
}

}  // namespace nearcell::gpu
