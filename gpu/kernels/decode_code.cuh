// What a stored code says: the values of one vector, in the order of dimensions, with the bits that
// the CPU's decode operations give (cpu/kernels_decode.cpp, where there are fused multiply-adds).
// One Decoder a kind, so that a kernel is compiled for each. A thread decodes one vector, a lane of
// a block: each word is read once for all the dimensions that it holds, and neighbouring threads
// read neighbouring words, 64 bytes of each of a warp's two blocks. Per dimension 1 to 4
// instructions, Bits 3 a plane and 3; product codes one load of an entry, from L1 or L2.
#pragma once

#include <bit>

#include <nearcell/gpu/simt/simt.h>
#include <nearcell/kernels/code_view.h>

namespace nearcell::gpu {

// Word w of the vector whose first word is *words. Blocks are stored word by word; kStride 1: a
// vector's words lie in a row.
template <size_t kStride = kBlock>
SIMT_DEVICE unsigned code_word(const uint32_t* words, size_t w) {
    return words[w * kStride];
}

// A factor at the end of a Bits code, as bits_factor says.
SIMT_DEVICE float bits_factor_at(const CodeView& code, const uint32_t* words, BitsFactor which) {
    const auto factor = static_cast<size_t>(which);
    const size_t first = code.words - bits_factor_words(code.bits);
    if (code.bits != 1) return __uint_as_float(code_word(words, first + factor));
    const unsigned pair = code_word(words, first + factor / 2);
    return __uint_as_float(factor % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
}

// decode(begin, end, step) calls step(j, x) for the dimensions from begin to end, in order: x is
// the value of dimension j. begin is a multiple of 32 (or what the last call ended with, if that
// was one).
template <CodeKind kKind, size_t kStride = kBlock>
class Decoder;

template <size_t kStride>
class Decoder<CodeKind::Float32, kStride> {
   public:
    SIMT_DEVICE Decoder(const CodeView&, const uint32_t* words) : words_(words) {}
    template <class Step>
    SIMT_DEVICE void decode(unsigned begin, unsigned end, const Step& step) {
        for (unsigned j = begin; j < end; ++j)
            step(j, __uint_as_float(code_word<kStride>(words_, j)));
    }

   private:
    const uint32_t* words_;
};

// Two values a word; value(half) makes a float of one.
template <class Value, size_t kStride>
class HalvesDecoder {
   public:
    SIMT_DEVICE HalvesDecoder(const CodeView&, const uint32_t* words) : words_(words) {}
    template <class Step>
    SIMT_DEVICE void decode(unsigned begin, unsigned end, const Step& step) {
        for (unsigned j = begin; j < end; j += 2) {
            const unsigned pair = code_word<kStride>(words_, j / 2);
            step(j, Value::of(pair & 0xffffu));
            if (j + 1 < end) step(j + 1, Value::of(pair >> 16));
        }
    }

   private:
    const uint32_t* words_;
};

struct Float16Value {
    static SIMT_DEVICE float of(unsigned half) {
        return __half2float(__ushort_as_half(static_cast<unsigned short>(half)));
    }
};
struct BFloat16Value {
    static SIMT_DEVICE float of(unsigned half) { return __uint_as_float(half << 16); }
};

template <size_t kStride>
class Decoder<CodeKind::Float16, kStride> : public HalvesDecoder<Float16Value, kStride> {
    using HalvesDecoder<Float16Value, kStride>::HalvesDecoder;
};
template <size_t kStride>
class Decoder<CodeKind::BFloat16, kStride> : public HalvesDecoder<BFloat16Value, kStride> {
    using HalvesDecoder<BFloat16Value, kStride>::HalvesDecoder;
};

// Four bytes a word, each handed to value(j, byte).
template <size_t kStride, class Step, class Value>
SIMT_DEVICE void decode_bytes(const uint32_t* words, unsigned begin, unsigned end, const Step& step,
                              const Value& value) {
    for (unsigned first = begin; first < end; first += 4) {
        const unsigned word = code_word<kStride>(words, first / 4);
        SIMT_UNROLL
        for (unsigned i = 0; i < 4; ++i) {
            const unsigned j = first + i;
            if (j < end) step(j, value(j, word >> (8 * i) & 0xffu));
        }
    }
}

template <size_t kStride>
class Decoder<CodeKind::RangeInt8, kStride> {
   public:
    SIMT_DEVICE Decoder(const CodeView& code, const uint32_t* words)
        : words_(words), offset_(code.offset), step_(code.step) {}
    template <class Step>
    SIMT_DEVICE void decode(unsigned begin, unsigned end, const Step& step) {
        decode_bytes<kStride>(words_, begin, end, step, [this](unsigned j, unsigned byte) {
            return __fmaf_rn(static_cast<float>(byte), step_[j], offset_[j]);
        });
    }

   private:
    const uint32_t* words_;
    const float *offset_, *step_;
};

template <size_t kStride>
class Decoder<CodeKind::ScaledInt8, kStride> {
   public:
    SIMT_DEVICE Decoder(const CodeView& code, const uint32_t* words)
        : words_(words), scale_(std::bit_cast<float>(code_word<kStride>(words, code.words - 1))) {}
    template <class Step>
    SIMT_DEVICE void decode(unsigned begin, unsigned end, const Step& step) {
        // Two's complement: the sign bit flipped, less 128.
        decode_bytes<kStride>(words_, begin, end, step, [this](unsigned, unsigned byte) {
            return __fmul_rn(__fsub_rn(static_cast<float>(byte ^ 0x80u), 128.0f), scale_);
        });
    }

   private:
    const uint32_t* words_;
    float scale_;
};

// Subspace after subspace. All lanes are in the same one; only their entries differ.
template <unsigned kBits, size_t kStride>
class ProductDecoder {
   public:
    SIMT_DEVICE ProductDecoder(const CodeView& code, const uint32_t* words)
        : words_(words), sub_begin_(code.sub_begin), codebooks_(code.codebooks) {}
    template <class Step>
    SIMT_DEVICE void decode(unsigned begin, unsigned end, const Step& step) {
        constexpr unsigned kPerWord = 32 / kBits;
        unsigned word = 0;
        for (unsigned j = begin; j < end;) {
            if (j == begin || m_ % kPerWord == 0) word = code_word<kStride>(words_, m_ / kPerWord);
            const unsigned first = sub_begin_[m_], next = sub_begin_[m_ + 1];
            const size_t entry = word >> (m_ % kPerWord * kBits) & ((1u << kBits) - 1);
            const float* const values =
                codebooks_ + (size_t{first} << kBits) + entry * (next - first);
            const unsigned stop = next < end ? next : end;
            for (; j < stop; ++j)
                step(j, values[j - first]);
            if (j == next) ++m_;
        }
    }

   private:
    const uint32_t* words_;
    const unsigned* sub_begin_;
    const float* codebooks_;
    unsigned m_ = 0;  // the subspace of the next dimension
};

template <size_t kStride>
class Decoder<CodeKind::Product8, kStride> : public ProductDecoder<8, kStride> {
    using ProductDecoder<8, kStride>::ProductDecoder;
};
template <size_t kStride>
class Decoder<CodeKind::Product4, kStride> : public ProductDecoder<4, kStride> {
    using ProductDecoder<4, kStride>::ProductDecoder;
};

template <>
class Decoder<CodeKind::Bits> {
   public:
    SIMT_DEVICE Decoder(const CodeView& code, const uint32_t* words)
        : words_(words),
          bits_(static_cast<unsigned>(code.bits)),
          lines_((static_cast<unsigned>(code.dim) + 31) / 32),
          scale_(bits_factor_at(code, words, BitsFactor::Scale)) {}
    template <class Step>
    SIMT_DEVICE void decode(unsigned begin, unsigned end, const Step& step) {
        if (bits_ == 1)
            decode_planes<1>(begin, end, step);
        else if (bits_ <= 4)
            decode_planes<4>(begin, end, step);
        else
            decode_planes<8>(begin, end, step);
    }

   private:
    // For up to kPlanes bits; those that the code lacks are zero in front.
    template <unsigned kPlanes, class Step>
    SIMT_DEVICE void decode_planes(unsigned begin, unsigned end, const Step& step) {
        const float middle = 0.5f * static_cast<float>((1u << bits_) - 1);
        const unsigned lacking = kPlanes - bits_;
        for (unsigned first = begin; first < end; first += 32) {
            unsigned planes[kPlanes];
            SIMT_UNROLL
            for (unsigned p = 0; p < kPlanes; ++p) {
                planes[p] = p < lacking
                                ? 0
                                : code_word(words_, (p - lacking) * size_t{lines_} + first / 32);
            }
            const unsigned count = end - first < 32 ? end - first : 32;
            for (unsigned i = 0; i < count; ++i) {
                unsigned value = 0;
                SIMT_UNROLL
                for (unsigned p = 0; p < kPlanes; ++p)
                    value = 2 * value + (planes[p] >> i & 1u);
                step(first + i, __fmul_rn(__fsub_rn(static_cast<float>(value), middle), scale_));
            }
        }
    }

    const uint32_t* words_;
    unsigned bits_, lines_;
    float scale_;
};

// pick.operator()<kKind>() for the kind, which host code knows: a kernel for it, for one.
template <class Pick>
auto pick_kind(CodeKind kind, const Pick& pick) {
    switch (kind) {
        case CodeKind::Float16: return pick.template operator()<CodeKind::Float16>();
        case CodeKind::BFloat16: return pick.template operator()<CodeKind::BFloat16>();
        case CodeKind::RangeInt8: return pick.template operator()<CodeKind::RangeInt8>();
        case CodeKind::ScaledInt8: return pick.template operator()<CodeKind::ScaledInt8>();
        case CodeKind::Product8: return pick.template operator()<CodeKind::Product8>();
        case CodeKind::Product4: return pick.template operator()<CodeKind::Product4>();
        case CodeKind::Bits: return pick.template operator()<CodeKind::Bits>();
        case CodeKind::Float32: break;
    }
    return pick.template operator()<CodeKind::Float32>();
}

}  // namespace nearcell::gpu
