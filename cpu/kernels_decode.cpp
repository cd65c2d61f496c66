// Decoding: a block of sixteen codes to the [d][16] floats that scans multiply with. Done once per
// block and batch of queries, so its cost is shared by all queries that look into the cell.
// Loop: one word of sixteen vectors (one line) per step; bound by the stores of 64 bytes a
// dimension, except product codes, which copy one codebook entry a vector and subspace (bound by
// those loads).
#include <nearcell/cpu/simd.h>
#include <nearcell/kernels/kernel_table.h>

namespace {

using nearcell::CodeView;
using nearcell::kBlock;

NEARCELL_INLINE void put(float* out, size_t j, const float* centroid, F32x16 x) {
    if (centroid != nullptr) x = add(x, broadcast(centroid[j]));
    store(out + j * kBlock, x);
}

NEARCELL_INLINE U32x16 word(const void* block, size_t w) {
    return load_words(static_cast<const uint32_t*>(block) + w * kBlock);
}

void decode_float32(const CodeView* code, const void* block, const float* centroid, float* out) {
    for (size_t j = 0; j < code->dim; ++j)
        put(out, j, centroid, as_float(word(block, j)));
}

void decode_float16(const CodeView* code, const void* block, const float* centroid, float* out) {
    for (size_t j = 0; j < code->dim; j += 2) {
        const U32x16 pair = word(block, j / 2);
        put(out, j, centroid, half_to_float(bits_at(pair, 0, 0xffffu)));
        if (j + 1 < code->dim) put(out, j + 1, centroid, half_to_float(bits_at(pair, 16, 0xffffu)));
    }
}

void decode_bfloat16(const CodeView* code, const void* block, const float* centroid, float* out) {
    for (size_t j = 0; j < code->dim; j += 2) {
        const U32x16 pair = word(block, j / 2);
        put(out, j, centroid, as_float(shift_left(pair, 16)));
        if (j + 1 < code->dim) {
            put(out, j + 1, centroid, as_float(shift_left(bits_at(pair, 16, 0xffffu), 16)));
        }
    }
}

void decode_range_int8(const CodeView* code, const void* block, const float* centroid, float* out) {
    for (size_t j = 0; j < code->dim; ++j) {
        const F32x16 c = to_float(bits_at(word(block, j / 4), static_cast<int>(j % 4) * 8, 0xffu));
        put(out, j, centroid, fma(c, broadcast(code->step[j]), broadcast(code->offset[j])));
    }
}

void decode_scaled_int8(const CodeView* code, const void* block, const float* centroid,
                        float* out) {
    const F32x16 scale = as_float(word(block, code->words - 1));
    for (size_t j = 0; j < code->dim; ++j) {
        const U32x16 byte = bits_at(word(block, j / 4), static_cast<int>(j % 4) * 8, 0xffu);
        // Two's complement: flip the sign bit, then take 128 away.
        const U32x16 flipped = each_word_part([&](auto i) __attribute__((always_inline)) {
            return byte.part[i] ^ WordBatch(0x80u);
        });
        put(out, j, centroid, mul(sub(to_float(flipped), broadcast(128.0f)), scale));
    }
}

template <int kBits>
void decode_product(const CodeView* code, const void* block, const float* centroid, float* out) {
    constexpr size_t kCentroids = size_t{1} << kBits;
    constexpr size_t kPerWord = 32 / kBits;
    const uint32_t* words = static_cast<const uint32_t*>(block);
    for (size_t m = 0; m < code->subquantizers; ++m) {
        const size_t begin = code->sub_begin[m], width = code->sub_begin[m + 1] - begin;
        const float* codebook = code->codebooks + kCentroids * begin;
        const uint32_t* line = words + (m / kPerWord) * kBlock;
        const int shift = static_cast<int>(m % kPerWord) * kBits;
        for (size_t v = 0; v < kBlock; ++v) {
            const float* entry = codebook + ((line[v] >> shift) & (kCentroids - 1)) * width;
            for (size_t j = 0; j < width; ++j)
                out[(begin + j) * kBlock + v] = entry[j];
        }
    }
    if (centroid == nullptr) return;
    for (size_t j = 0; j < code->dim; ++j) {
        store(out + j * kBlock, add(load(out + j * kBlock), broadcast(centroid[j])));
    }
}

// Entries of a known width are moves of a register, eight of them to a word.
template <size_t kWidth>
NEARCELL_INLINE void copy_entries(const CodeView* code, const uint32_t* words, float* out) {
    const auto copy = [&](size_t m, uint32_t entry) __attribute__((always_inline)) {
        std::memcpy(out + m * kWidth, code->codebooks + (16 * m + entry) * kWidth,
                    kWidth * sizeof(float));
    };
    const size_t count = code->subquantizers;
    size_t m = 0;
    for (; m + 8 <= count; m += 8, words += kBlock) {
        const uint32_t word = *words;
        unroll<8>([&](auto i)
                      __attribute__((always_inline)) { copy(m + i, word >> (4 * i) & 15); });
    }
    for (uint32_t rest = m < count ? *words : 0; m < count; ++m, rest >>= 4)
        copy(m, rest & 15);
}

void lane_product4(const CodeView* code, const uint32_t* block, size_t lane, float* out) {
    if (code->sub_width == 2) return copy_entries<2>(code, block + lane, out);
    if (code->sub_width == 4) return copy_entries<4>(code, block + lane, out);
    for (size_t m = 0; m < code->subquantizers; ++m) {
        const size_t begin = code->sub_begin[m], width = code->sub_begin[m + 1] - begin;
        const size_t entry = block[m / 8 * kBlock + lane] >> (m % 8 * 4) & 15u;
        const float* const from = code->codebooks + 16 * begin + entry * width;
        for (size_t j = 0; j < width; ++j)
            out[begin + j] = from[j];
    }
}

void decode_bits(const CodeView* code, const void* block, const float* centroid, float* out) {
    const size_t plane = (code->dim + 31) / 32;
    const U32x16 first = word(block, code->bits * plane);
    const F32x16 scale = as_float(code->bits == 1 ? shift_left(first, 16) : first);
    const F32x16 middle = broadcast(0.5f * static_cast<float>((1u << code->bits) - 1));
    for (size_t j = 0; j < code->dim; ++j) {
        const int bit = static_cast<int>(j % 32);
        U32x16 value = bits_at(word(block, j / 32), bit, 1u);
        for (size_t p = 1; p < code->bits; ++p) {
            value = bit_or(shift_left(value, 1), bits_at(word(block, p * plane + j / 32), bit, 1u));
        }
        put(out, j, centroid, mul(sub(to_float(value), middle), scale));
    }
}

}  // namespace

namespace nearcell {

void NEARCELL_FILL(decode)(KernelTable& table) {
    table.decode_float32 = decode_float32;
    table.decode_float16 = decode_float16;
    table.decode_bfloat16 = decode_bfloat16;
    table.decode_range_int8 = decode_range_int8;
    table.decode_scaled_int8 = decode_scaled_int8;
    table.decode_product8 = decode_product<8>;
    table.decode_product4 = decode_product<4>;
    table.decode_bits = decode_bits;
    table.lane_product4 = lane_product4;
}

}  // namespace nearcell
