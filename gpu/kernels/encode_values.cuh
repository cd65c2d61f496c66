// Codes of one value a dimension: halves and bytes, with the bits of the codecs (quantize/
// float_codec.cpp, range_int8_codec.cpp, scaled_int8_codec.cpp). All are memory-bound: of a row of
// d dimensions they read 4 d bytes and write 2 d or d, for some 3 to 6 operations a value, two
// divisions at most among them, which are some 10 each.
//
// Halves and bytes of ranges: a thread a word, so neighbours read and write neighbours. Bytes with
// a scale a row: a warp a row, which reads its row twice, the second time from L1.
#pragma once

#include <nearcell/kernels/code_view.h>
#include <nearcell/gpu/kernels/encode_rows.cuh>
#include <nearcell/gpu/kernels/packed_key.cuh>

namespace nearcell::gpu {

// Below it, and above its negative, values round to a finite half.
template <CodeKind kKind>
SIMT_DEVICE bool fits_half(float value) {
    constexpr float kLimit = kKind == CodeKind::Float16 ? 65520.0f : 0x1.ffp127f;
    return -kLimit < value && value < kLimit;
}

template <CodeKind kKind>
SIMT_DEVICE unsigned half_bits(float value) {
    if constexpr (kKind == CodeKind::Float16) return __half_as_ushort(__float2half_rn(value));
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

template <CodeKind kKind>
__global__ void __launch_bounds__(kEncodeThreads) encode_halves(CodedRows rows, CodeOutput out) {
    const size_t at = size_t{blockIdx.x} * kEncodeThreads + threadIdx.x;
    if (at >= size_t{rows.x.count} * out.words) return;
    const auto row = static_cast<unsigned>(at / out.words);
    const auto j = static_cast<unsigned>(at % out.words) * 2;
    const float low = rows.value(row, j);
    const float high = j + 1 < rows.x.dim ? rows.value(row, j + 1) : 0.0f;
    if (!fits_half<kKind>(low) || !fits_half<kKind>(high)) atomicOr(out.misfits, 1u);
    out.codes[at] = half_bits<kKind>(low) | half_bits<kKind>(high) << 16;
}

// The nearest step of a range. A range of no width has one value, whose byte is 0.
SIMT_DEVICE unsigned range_byte(float x, float offset, float step) {
    const float divisor = step == 0 ? __uint_as_float(0x7f800000u) : step;
    const float position = __fadd_rn(__fdiv_rn(__fsub_rn(x, offset), divisor), 0.5f);
    const float above = position > 0.0f ? position : 0.0f;  // also NaN
    return static_cast<unsigned>(above < 255.0f ? above : 255.0f);
}

// Words behind the bytes are zeros.
__global__ void __launch_bounds__(kEncodeThreads)
    encode_ranges(CodedRows rows, const float* offset, const float* step, CodeOutput out) {
    const size_t at = size_t{blockIdx.x} * kEncodeThreads + threadIdx.x;
    if (at >= size_t{rows.x.count} * out.words) return;
    const auto row = static_cast<unsigned>(at / out.words);
    const auto first = static_cast<unsigned>(at % out.words) * 4;
    unsigned word = 0;
    SIMT_UNROLL
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned j = first + i;
        if (j < rows.x.dim) word |= range_byte(rows.value(row, j), offset[j], step[j]) << (8 * i);
    }
    out.codes[at] = word;
}

// scale_of of the codec: the largest magnitude / 127, rounded up to 16 bits; 0: all bytes are 0.
SIMT_DEVICE float byte_scale(float largest) {
    constexpr float kLeastScale = 0x1p-126f, kLargestScale = 0x1.0204p121f;
    if (largest <= 0.5f * kLeastScale) return 0.0f;
    const auto ideal = static_cast<float>(static_cast<double>(largest) / 127.0);
    if (ideal <= kLeastScale) return kLeastScale;
    const float rounded = __uint_as_float((__float_as_uint(ideal) + 0xffu) & ~0xffu);
    return rounded < kLargestScale ? rounded : kLargestScale;
}

__global__ void __launch_bounds__(kEncodeThreads) encode_scaled(CodedRows rows, CodeOutput out) {
    const unsigned row = blockIdx.x * (kEncodeThreads / 32) + threadIdx.x / 32;
    if (row >= rows.x.count) return;
    float largest = 0;
    for (unsigned j = threadIdx.x % 32; j < rows.x.dim; j += 32) {
        const float magnitude = fabs(rows.value(row, j));
        largest = largest < magnitude ? magnitude : largest;
    }
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        const float other = __shfl_xor_sync(kWarp, largest, lanes);
        largest = largest < other ? other : largest;
    }
    const float scale = byte_scale(largest);
    uint32_t* const code = out.codes + size_t{row} * out.words;
    for (unsigned w = threadIdx.x % 32; w + 1 < out.words; w += 32) {
        unsigned word = 0;
        SIMT_UNROLL
        for (unsigned i = 0; i < 4; ++i) {
            const unsigned j = 4 * w + i;
            if (j >= rows.x.dim || scale == 0) continue;
            // The nearest integer stands at the end of the fraction.
            const float shifted = __fadd_rn(__fdiv_rn(rows.value(row, j), scale), 0x1.8p23f);
            word |= (__float_as_uint(shifted) & 0xffu) << (8 * i);
        }
        code[w] = word;
    }
    if (threadIdx.x % 32 == 0) code[out.words - 1] = __float_as_uint(scale);
}

}  // namespace nearcell::gpu
