// Eight dimensions of a stored code at a time, as tensor-core operands want them: four lanes share
// a vector, and of 32 dimensions each decodes eight in a row, so that a lane reads whole words
// (Bits: the four lanes one word of each plane, each a byte of it). Values are those of
// decode_code.cuh, bit for bit. What a dimension needs beside the code (offset and step, or where
// its subspace stands) lies in shared memory, put there once for all vectors of a tile. Codebooks
// are aligned to 16 bytes.
#pragma once

#include <nearcell/gpu/kernels/decode_code.cuh>

namespace nearcell::gpu {

// What all vectors share of one dimension; nothing for most kinds.
template <CodeKind kKind>
struct DimensionData {};
template <>
struct DimensionData<CodeKind::RangeInt8> {
    float step, offset;
};
// Value `entry` of the subspace's codebook is codebooks[base + entry * width].
struct alignas(16) SubspaceData {
    unsigned word, shift, base, width;
};
template <>
struct DimensionData<CodeKind::Product8> : SubspaceData {};
template <>
struct DimensionData<CodeKind::Product4> : SubspaceData {};

constexpr bool is_product(CodeKind kind) {
    return kind == CodeKind::Product8 || kind == CodeKind::Product4;
}
constexpr unsigned product_bits(CodeKind kind) { return kind == CodeKind::Product8 ? 8 : 4; }

// The subspace that dimension j is of.
SIMT_DEVICE unsigned subspace_of(const CodeView& code, unsigned j) {
    if (const auto width = static_cast<unsigned>(code.sub_width); width != 0) {
        const bool is_power = (width & (width - 1)) == 0;  // most are, and a division costs more
        return is_power ? j >> (31 - __clz(static_cast<int>(width))) : j / width;
    }
    unsigned low = 0, high = static_cast<unsigned>(code.subquantizers);
    while (high - low > 1) {
        const unsigned middle = (low + high) / 2;
        (code.sub_begin[middle] <= j ? low : high) = middle;
    }
    return low;
}

// Of dimension j, which there is.
template <CodeKind kKind>
SIMT_DEVICE DimensionData<kKind> dimension_data(const CodeView& code, unsigned j) {
    DimensionData<kKind> data;
    if constexpr (kKind == CodeKind::RangeInt8) {
        data.step = code.step[j];
        data.offset = code.offset[j];
    }
    if constexpr (is_product(kKind)) {
        constexpr unsigned kBits = product_bits(kKind);
        const unsigned m = subspace_of(code, j);
        const bool alike = code.sub_width != 0;
        const unsigned width = alike ? static_cast<unsigned>(code.sub_width)
                                     : code.sub_begin[m + 1] - code.sub_begin[m];
        const unsigned begin = alike ? m * width : code.sub_begin[m];
        data.word = m / (32 / kBits);
        data.shift = m % (32 / kBits) * kBits;
        data.base = (begin << kBits) + (j - begin);
        data.width = width;
    }
    return data;
}

// The factor that all values of a vector have, where the kind has one. kStride: as code_word's.
template <CodeKind kKind, size_t kStride = kBlock>
SIMT_DEVICE float scale_of_vector(const CodeView& code, const uint32_t* words) {
    if constexpr (kKind == CodeKind::ScaledInt8)
        return __uint_as_float(code_word<kStride>(words, code.words - 1));
    if constexpr (kKind == CodeKind::Bits) return bits_factor_at(code, words, BitsFactor::Scale);
    return 1;
}

// Word w, or 0 where its first dimension, j, is past the end.
SIMT_DEVICE unsigned word_before(const CodeView& code, const uint32_t* words, unsigned w,
                                 unsigned j) {
    return j < code.dim ? code_word(words, w) : 0;
}

SIMT_DEVICE void decode_eight_bits(const CodeView& code, const uint32_t* words, float scale,
                                   unsigned first, float (&x)[8]) {
    const auto bits = static_cast<unsigned>(code.bits);
    const unsigned lines = (static_cast<unsigned>(code.dim) + 31) / 32;
    unsigned values[8] = {};
    if (first < code.dim) {
        for (unsigned p = 0; p < bits; ++p) {
            const unsigned byte = code_word(words, p * size_t{lines} + first / 32) >> (first % 32);
            SIMT_UNROLL
            for (unsigned i = 0; i < 8; ++i)
                values[i] = 2 * values[i] + (byte >> i & 1u);
        }
    }
    const float middle = 0.5f * static_cast<float>((1u << bits) - 1);
    SIMT_UNROLL
    for (unsigned i = 0; i < 8; ++i)
        x[i] = __fmul_rn(__fsub_rn(static_cast<float>(values[i]), middle), scale);
}

// Values of entries, one or two in a row at a time.
template <CodeKind kKind, unsigned kWidth, size_t kStride = kBlock>
SIMT_DEVICE void gather_eight(const CodeView& code, const DimensionData<kKind>* data,
                              const uint32_t* words, float (&x)[8]) {
    constexpr unsigned kMask = (1u << product_bits(kKind)) - 1;
    SIMT_UNROLL
    for (unsigned i = 0; i < 8; i += kWidth) {
        const uint4 at = simt::load16(reinterpret_cast<const uint4*>(data + i));
        const unsigned entry = code_word<kStride>(words, at.x) >> at.y & kMask;
        const float* const values = code.codebooks + (at.z + entry * at.w);
        if constexpr (kWidth == 2) {
            const float2 two = *reinterpret_cast<const float2*>(values);
            x[i] = two.x;
            x[i + 1] = two.y;
        } else {
            x[i] = *values;
        }
    }
}

// Words that eight dimensions have, of kinds whose values lie beside each other.
constexpr unsigned words_of_eight(CodeKind kind) {
    if (kind == CodeKind::Float32) return 8;
    return kind == CodeKind::Float16 || kind == CodeKind::BFloat16 ? 4 : 2;
}

// Value i of eight dimensions, by their words; `data` and `scale`: of these dimensions, and of the
// vector. With a constant i, words stay in registers.
template <CodeKind kKind, class Data>
SIMT_DEVICE float value_of_words(const unsigned (&words)[words_of_eight(kKind)], unsigned i,
                                 const Data* data, float scale) {
    if constexpr (kKind == CodeKind::Float32) {
        return __uint_as_float(words[i]);
    } else if constexpr (kKind == CodeKind::Float16 || kKind == CodeKind::BFloat16) {
        const unsigned half = i % 2 == 0 ? words[i / 2] & 0xffffu : words[i / 2] >> 16;
        return kKind == CodeKind::Float16 ? Float16Value::of(half) : BFloat16Value::of(half);
    } else {
        const unsigned byte = words[i / 4] >> (i % 4 * 8) & 0xffu;
        if constexpr (kKind == CodeKind::RangeInt8)
            return __fmaf_rn(static_cast<float>(byte), data[i].step, data[i].offset);
        return __fmul_rn(__fsub_rn(static_cast<float>(byte ^ 0x80u), 128.0f), scale);
    }
}

// `data` is of eight dimensions from `first`, a multiple of eight, on. Past the end x is anything.
template <CodeKind kKind>
SIMT_DEVICE void decode_eight(const CodeView& code, const DimensionData<kKind>* data,
                              const uint32_t* words, float scale, unsigned first, float (&x)[8]) {
    if constexpr (kKind == CodeKind::Bits) {
        decode_eight_bits(code, words, scale, first, x);
    } else if constexpr (is_product(kKind)) {
        const auto width = static_cast<unsigned>(code.sub_width);
        if (width != 0 && width % 2 == 0)
            gather_eight<kKind, 2>(code, data, words, x);
        else
            gather_eight<kKind, 1>(code, data, words, x);
    } else {
        constexpr unsigned kWords = words_of_eight(kKind);
        unsigned found[kWords];
        SIMT_UNROLL
        for (unsigned w = 0; w < kWords; ++w)
            found[w] = word_before(code, words, first / 8 * kWords + w, first + w * 8 / kWords);
        SIMT_UNROLL
        for (unsigned i = 0; i < 8; ++i)
            x[i] = value_of_words<kKind>(found, i, data, scale);
    }
}

}  // namespace nearcell::gpu
