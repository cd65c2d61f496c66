// Byte tiles from stored codes, once after each change: a thread a vector, which decodes it twice,
// first for its scale. Bound by reading rows and writing words of four bytes, each thread its own.
#pragma once

#include <nearcell/gpu/kernels/byte_tiles.cuh>

namespace nearcell::gpu {

constexpr int kMakeThreads = 128;

template <CodeKind kKind, class Use>
SIMT_DEVICE void for_moved_values(const StoredCodes& stored, const uint32_t* words,
                                  const float* centre, const Use& use) {
    Decoder<kKind, 1> decoder(stored.code, words);
    decoder.decode(0, static_cast<unsigned>(stored.code.dim),
                   [&](unsigned j, float x) { use(j, centre == nullptr ? x : x - centre[j]); });
}

// |c| of a residual's centroid, by which its key may be off; else 0.
SIMT_DEVICE float residual_length(const StoredCodes& stored, size_t cell,
                                  const BoundConstants& constants) {
    if (!stored.residual) return 0;
    float square = 0;
    for (size_t j = 0; j < stored.code.dim; ++j) {
        const float c = stored.centroids[cell * stored.code.dim + j];
        square = __fmaf_rn(c, c, square);
    }
    return __fsqrt_rn(square) * (1 + constants.sum);
}

// Fills values, unless they are null, and terms of places [0, places). Any code but Bits.
template <CodeKind kKind>
__global__ void __launch_bounds__(kMakeThreads)
    make_byte_tiles(StoredCodes stored, const unsigned* cell_of_block, size_t places,
                    uint32_t* values, ByteTerms* terms) {
    const size_t place = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (place >= places) return;
    const size_t cell = cell_of_block[place / kBlock];
    const uint32_t* const words = stored.blocks + place * stored.code.words;
    const float* const centre = tile_centre(stored, cell);
    float most = 0;
    for_moved_values<kKind>(stored, words, centre,
                            [&](unsigned, float x) { most = max(most, fabs(x)); });
    const ByteScale scale = byte_scale(most);
    const unsigned steps = stored.tiles.steps, row = place % kBlock;
    const size_t to = place / kBlock * steps * 128 + (row % 8) * 16 + row / 8;
    RoundedSquares sums;
    uint32_t word = 0;
    const auto write = [&](unsigned w) {  // of eight words of 32 dimensions
        if (values != nullptr) values[to + w / 8 * 128 + w % 8 / 2 * 4 + w % 2 * 2] = word;
        word = 0;
    };
    for_moved_values<kKind>(stored, words, centre, [&](unsigned j, float x) {
        word |= (round_byte(x, scale, sums) & 0xffu) << (j % 4 * 8);
        if (j % 4 == 3) write(j / 4);
    });
    const auto dim = static_cast<unsigned>(stored.code.dim);
    for (unsigned w = dim / 4; w < steps * 8; ++w)
        write(w);
    const BoundConstants constants = bound_constants(steps * 32);
    const bool is_bounded = most < kLongest && is_short(sums.square + sums.error);
    terms[place] = {scale.scale, is_bounded ? sums.square : kUnknown,
                    error_of(constants, sums, residual_length(stored, cell, constants)),
                    scale.inverse};
}

// Blocks as the host has them, whose vectors' words are to lie in rows. A block of threads each.
__global__ void __launch_bounds__(kMakeThreads)
    turn_blocks(const uint32_t* from, unsigned words, uint32_t* to) {
    const size_t first = blockIdx.x * size_t{words} * kBlock;
    for (unsigned i = threadIdx.x; i < words * kBlock; i += kMakeThreads)
        to[first + i] = from[first + i % words * kBlock + i / words];
}

using MakeTilesKernel = void (*)(StoredCodes, const unsigned*, size_t, uint32_t*, ByteTerms*);

struct PickMakeTiles {
    template <CodeKind kKind>
    MakeTilesKernel operator()() const {
        if constexpr (kKind != CodeKind::Bits) return make_byte_tiles<kKind>;
        return nullptr;
    }
};
// kMakeThreads threads a block; null for Bits, which have none.
inline MakeTilesKernel make_byte_tiles_kernel(CodeKind kind) {
    return pick_kind(kind, PickMakeTiles());
}

}  // namespace nearcell::gpu
