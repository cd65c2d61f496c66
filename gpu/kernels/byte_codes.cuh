// The values of byte tiles (byte_tiles.cuh) made of the codes while they are scanned, where a
// device has no memory for them: of the codes' rows, by the scales that were kept, the same bytes.
// For up to kMadeSteps steps, which a warp has in registers and makes once for all queries of a
// tile. Each lane makes what it holds of the A operand: of four vectors eight of 32 dimensions.
//
// Reading: a code and 16 bytes a vector and tile of chunk. A value takes some 4 to 6 instructions:
// 1 or 2 to decode, 1 to move it, 1 to round it, 1 to pack it; of 4-bit products 3 to decode, of
// which one reads its entry, moved already, in shared memory (lanes of one dimension in a row of
// banks of their own: up to some 3 of them meet), of 8-bit products one that reads it in L1 or L2.
// On an H100, batches of 10,000 as in scan_byte_tiles.cuh with 32 and 104 probes take 1.52 and 1.36
// times as long by bfloat16 as with values that are kept, 1.39 and 1.32 by SQ8, 1.46 and 1.36 by
// 4-bit products (bench/results/gpu-h100.txt, codes by turns).
#pragma once

#include <nearcell/gpu/kernels/byte_queries.cuh>
#include <nearcell/gpu/kernels/decode_eight.cuh>

namespace nearcell::gpu {

constexpr unsigned kMadeDims = kMadeSteps * 32;
constexpr unsigned kEntries = 16;

// Where the entries of dimension j are: a lane's next dimension is 32 entries away, and two of a
// vector's four lanes, eight dimensions from each other, have banks of their own.
SIMT_DEVICE unsigned entries_at(unsigned j) {
    return j / 16 * 16 * kEntries + j % 8 * 2 * kEntries + j / 8 % 2 * kEntries;
}

// Of eight dimensions: the subspace of the first, and of each, a byte, by how much the codes from
// there on are turned right so that its code is four times an entry.
struct alignas(16) EightSubspaces {
    unsigned first, unused, turns[2];
};
// Of 4-bit products.
struct EntryTables {
    EightSubspaces eights[kMadeDims / 8];
    float entries[kMadeDims * kEntries];  // moved; zeros past the end
};
// What all vectors of a chunk share, in shared memory.
struct alignas(16) ByteCodes {
    float centroid[kMadeDims];  // what vectors are moved by
    union {
        DimensionData<CodeKind::RangeInt8> ranges[kMadeDims];
        DimensionData<CodeKind::Product8> subspaces[kMadeDims];
        EntryTables tables;
    };
};

SIMT_DEVICE void load_entries(const CodeView& code, const float* centre, unsigned dims,
                              ByteCodes& shared) {
    const auto dim = static_cast<unsigned>(code.dim);
    const unsigned entry = threadIdx.x % kEntries;
    for (unsigned j = threadIdx.x / kEntries; j < dims; j += kByteThreads / kEntries) {
        float value = 0;
        if (j < dim) {
            const auto at = dimension_data<CodeKind::Product4>(code, j);
            value = code.codebooks[at.base + entry * at.width];
            if (centre != nullptr) value -= centre[j];
        }
        shared.tables.entries[entries_at(j) + entry] = value;
    }
    for (unsigned eight = threadIdx.x; eight < dims / 8; eight += kByteThreads) {
        const unsigned first = subspace_of(code, min(eight * 8, dim - 1));
        uint64_t turns = 0;
        SIMT_NO_UNROLL
        for (unsigned i = 0; i < 8; ++i) {
            const unsigned behind = subspace_of(code, min(eight * 8 + i, dim - 1)) - first;
            turns |= uint64_t{(behind * 4 - 2) % 32} << (i * 8);
        }
        shared.tables.eights[eight] = {
            first, 0, {static_cast<unsigned>(turns), static_cast<unsigned>(turns >> 32)}};
    }
}

// By all threads of a block, which then wait for each other.
SIMT_DEVICE void load_byte_codes(const StoredCodes& stored, const Chunk& chunk, ByteCodes& shared) {
    const CodeView& code = stored.code;
    const unsigned dims = stored.tiles.steps * 32;
    const float* const centre = tile_centre(stored, chunk.cell);
    if (code.kind == CodeKind::Product4) return load_entries(code, centre, dims, shared);
    for (unsigned j = threadIdx.x; j < dims; j += kByteThreads) {
        const bool inside = j < code.dim;
        shared.centroid[j] = inside && centre != nullptr ? centre[j] : 0.0f;
        const unsigned at = inside ? j : 0;
        if (code.kind == CodeKind::RangeInt8)
            shared.ranges[j] = dimension_data<CodeKind::RangeInt8>(code, at);
        if (code.kind == CodeKind::Product8)
            shared.subspaces[j] = dimension_data<CodeKind::Product8>(code, at);
    }
}

// A lane's vectors of kCount blocks: rows g and g + 8 of each, g = lane / 4.
template <unsigned kCount>
struct CodeRows {
    const uint32_t* words[kCount][2];
    float inverse[kCount][2];  // ByteTerms::inverse
};

// Words that are read ahead of eight dimensions of a vector; 8-bit products read them in between.
constexpr unsigned ahead_words(CodeKind kind) {
    return kind == CodeKind::Product4 ? 2 : kind == CodeKind::Product8 ? 0 : words_of_eight(kind);
}
template <CodeKind kKind, unsigned kCount>
using WordsAhead = unsigned[kCount][2][ahead_words(kKind) + (ahead_words(kKind) == 0)];

template <unsigned kCount, unsigned kWords>
SIMT_DEVICE void copy_words(const unsigned (&from)[kCount][2][kWords],
                            unsigned (&to)[kCount][2][kWords]) {
    SIMT_UNROLL
    for (unsigned i = 0; i < kCount * 2; ++i) {
        SIMT_UNROLL
        for (unsigned w = 0; w < kWords; ++w)
            to[i / 2][i % 2][w] = from[i / 2][i % 2][w];
    }
}

// Some words of a row from `first` on, a multiple of their number; 0 behind the row's.
template <unsigned kWords>
SIMT_DEVICE void read_words(const uint32_t* row, unsigned first, unsigned count, bool is_aligned,
                            unsigned (&words)[kWords]) {
    if (is_aligned) {
        if constexpr (kWords == 2) {
            uint2 two{0, 0};
            if (first < count) two = *reinterpret_cast<const uint2*>(row + first);
            words[0] = two.x, words[1] = two.y;
        } else {
            SIMT_UNROLL
            for (unsigned i = 0; i < kWords; i += 4) {
                uint4 four{0, 0, 0, 0};
                if (first + i < count)
                    four = simt::load16(reinterpret_cast<const uint4*>(row + first + i));
                words[i] = four.x, words[i + 1] = four.y;
                words[i + 2] = four.z, words[i + 3] = four.w;
            }
        }
        return;
    }
    SIMT_UNROLL
    for (unsigned i = 0; i < kWords; ++i)
        words[i] = first + i < count ? row[first + i] : 0;
}

template <CodeKind kKind, unsigned kCount>
SIMT_DEVICE void read_ahead(const CodeView& code, const ByteCodes& shared,
                            const CodeRows<kCount>& rows, unsigned first,
                            WordsAhead<kKind, kCount>& words) {
    const auto count = static_cast<unsigned>(code.words);
    if constexpr (kKind == CodeKind::Product4) {
        const unsigned subspace = shared.tables.eights[first / 8].first, word = subspace / 8;
        const bool both = subspace % 8 != 0 && word + 1 < count;
        SIMT_UNROLL
        for (unsigned i = 0; i < kCount * 2; ++i) {
            const uint32_t* const row = rows.words[i / 2][i % 2];
            words[i / 2][i % 2][0] = row[word];
            words[i / 2][i % 2][1] = both ? row[word + 1] : 0;
        }
    } else if constexpr (kKind != CodeKind::Product8) {
        constexpr unsigned kWords = words_of_eight(kKind);
        const bool is_aligned = count % (kWords < 4 ? kWords : 4) == 0;
        SIMT_UNROLL
        for (unsigned i = 0; i < kCount * 2; ++i)
            read_words<kWords>(rows.words[i / 2][i % 2], first / 8 * kWords, count, is_aligned,
                               words[i / 2][i % 2]);
    }
}

// Of 4-bit products, dimensions from `first` on: the codes of their subspaces, which lie in two
// words at most, and what these name.
SIMT_DEVICE void look_up_eight(const ByteCodes& shared, const unsigned (&words)[2], unsigned first,
                               float (&x)[8]) {
    const uint4 eight =
        simt::load16(reinterpret_cast<const uint4*>(shared.tables.eights + first / 8));
    const unsigned codes = __funnelshift_r(words[0], words[1], eight.x % 8 * 4);
    const char* const entries =
        reinterpret_cast<const char*>(shared.tables.entries + entries_at(first));
    SIMT_UNROLL
    for (unsigned i = 0; i < 8; ++i) {
        const unsigned turn = (i < 4 ? eight.z : eight.w) >> (i % 4 * 8);
        const unsigned entry = __funnelshift_r(codes, codes, turn) & (kEntries - 1) * 4;
        x[i] = *reinterpret_cast<const float*>(entries + entry + i * 2 * kEntries * 4);
    }
}

// Moves eight dimensions from `first` on by the centroid; zero past the end.
SIMT_DEVICE void move_eight(const CodeView& code, const ByteCodes& shared, unsigned first,
                            float (&x)[8]) {
    SIMT_UNROLL
    for (unsigned i = 0; i < 8; i += 4) {
        const float4 c = simt::load16(reinterpret_cast<const float4*>(shared.centroid + first + i));
        x[i] -= c.x;
        x[i + 1] -= c.y;
        x[i + 2] -= c.z;
        x[i + 3] -= c.w;
    }
    if (first + 8 <= code.dim) return;
    SIMT_UNROLL
    for (unsigned i = 0; i < 8; ++i) {
        if (first + i >= code.dim) x[i] = 0;
    }
}

// Eight dimensions of a vector from `first` on, moved by the centroid; zero past the end.
template <CodeKind kKind, unsigned kWords>
SIMT_DEVICE void moved_eight(const CodeView& code, const ByteCodes& shared, const uint32_t* row,
                             const unsigned (&words)[kWords], unsigned first, float (&x)[8]) {
    if constexpr (kKind == CodeKind::Product4) {
        look_up_eight(shared, words, first, x);
    } else if constexpr (kKind == CodeKind::Product8) {
        const auto* const data = shared.subspaces + first;
        if (code.sub_width != 0 && code.sub_width % 2 == 0)
            gather_eight<kKind, 2, 1>(code, data, row, x);
        else
            gather_eight<kKind, 1, 1>(code, data, row, x);
        move_eight(code, shared, first, x);
    } else {
        const float scale = scale_of_vector<kKind, 1>(code, row);
        SIMT_UNROLL
        for (unsigned i = 0; i < 8; ++i)
            x[i] = value_of_words<kKind>(words, i, shared.ranges + first, scale);
        move_eight(code, shared, first, x);
    }
}

// Four values from x[first] on as a word, as round_byte rounds them.
SIMT_DEVICE unsigned pack_four(const float (&x)[8], unsigned first, float inverse) {
    unsigned bits[4];
    SIMT_UNROLL
    for (unsigned i = 0; i < 4; ++i)
        bits[i] = nearest_byte(x[first + i], inverse).bits;
    return __byte_perm(__byte_perm(bits[0], bits[1], 0x0040), __byte_perm(bits[2], bits[3], 0x0040),
                       0x5410);
}

// What the lane holds of block r and 32 dimensions, to[(step * kCount + r) * 32]: by way of shared
// memory, since unrolled for all steps and kinds this takes more registers than there are. While
// words become values, the next are read, but of float32, which are too many.
template <CodeKind kKind, unsigned kCount>
SIMT_DEVICE void make_values_of(const StoredCodes& stored, const ByteCodes& shared,
                                const CodeRows<kCount>& rows, uint4* to) {
    constexpr bool kEarly = ahead_words(kKind) > 0 && ahead_words(kKind) <= 4;
    const unsigned part = threadIdx.x % 4 * 8, steps = stored.tiles.steps;
    WordsAhead<kKind, kCount> now, next;
    if constexpr (kEarly) read_ahead<kKind, kCount>(stored.code, shared, rows, part, next);
    SIMT_NO_UNROLL
    for (unsigned step = 0; step < steps; ++step) {
        const unsigned first = step * 32 + part;
        if constexpr (kEarly) {
            copy_words(next, now);
            if (step + 1 < steps)
                read_ahead<kKind, kCount>(stored.code, shared, rows, first + 32, next);
        } else {
            read_ahead<kKind, kCount>(stored.code, shared, rows, first, now);
        }
        SIMT_UNROLL
        for (unsigned r = 0; r < kCount; ++r) {
            unsigned words[2][2];
            SIMT_UNROLL
            for (unsigned half = 0; half < 2; ++half) {
                float x[8];
                moved_eight<kKind>(stored.code, shared, rows.words[r][half], now[r][half], first,
                                   x);
                words[half][0] = pack_four(x, 0, rows.inverse[r][half]);
                words[half][1] = pack_four(x, 4, rows.inverse[r][half]);
            }
            simt::store16(to + (step * kCount + r) * 32,
                          uint4{words[0][0], words[1][0], words[0][1], words[1][1]});
        }
    }
}

// Of any codes but Bits.
template <unsigned kCount>
SIMT_DEVICE void make_values(const StoredCodes& stored, const ByteCodes& shared,
                             const CodeRows<kCount>& rows, uint4* to) {
    switch (stored.code.kind) {
        case CodeKind::Float32: return make_values_of<CodeKind::Float32>(stored, shared, rows, to);
        case CodeKind::Float16: return make_values_of<CodeKind::Float16>(stored, shared, rows, to);
        case CodeKind::BFloat16:
            return make_values_of<CodeKind::BFloat16>(stored, shared, rows, to);
        case CodeKind::RangeInt8:
            return make_values_of<CodeKind::RangeInt8>(stored, shared, rows, to);
        case CodeKind::ScaledInt8:
            return make_values_of<CodeKind::ScaledInt8>(stored, shared, rows, to);
        case CodeKind::Product8:
            return make_values_of<CodeKind::Product8>(stored, shared, rows, to);
        case CodeKind::Product4:
            return make_values_of<CodeKind::Product4>(stored, shared, rows, to);
        case CodeKind::Bits: break;
    }
}

}  // namespace nearcell::gpu
