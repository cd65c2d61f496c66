// Convolutions and pooling of pixels of consecutive channels.
//
// conv_f32, loop: one input value of Q output pixels and NB blocks of sixteen output channels a
// step: the tile of tile.h, bound by the multiply-add unit; the weights of a tile come from the
// second cache, a line for every Q multiply-adds. depthwise_f32, loop: a value of sixteen channels,
// loaded once, for each of the up to K of P pixels that it belongs to; bound by how fast the second
// cache gives rows that the first does not hold, in large maps by memory. Pooling: a load for each
// operation. `nearcell bench network` says what layers reach.
#include <algorithm>

#include <nearcell/cpu/simd.h>
#include <nearcell/cpu/tile.h>
#include <nearcell/kernels/kernel_table.h>

namespace {

using nearcell::ConvView;
using nearcell::DepthwiseView;
using nearcell::PoolView;

// Of a row, in depthwise_row: the sides of pictures' maps are often multiples of seven.
#if defined(NEARCELL_SANITIZED)
constexpr size_t kPixels = 2;
#elif defined(__AVX512F__)
constexpr size_t kPixels = 7;
#else
constexpr size_t kPixels = 4;
#endif

NEARCELL_INLINE size_t padded(size_t channels) { return (channels + kBlock - 1) / kBlock * kBlock; }

NEARCELL_INLINE F32x16 load_some(const float* from, size_t count) {
    if (count >= kBlock) return load(from);
    alignas(64) float values[16] = {};
    for (unsigned lanes = (1u << count) - 1u; lanes != 0; lanes &= lanes - 1) {
        const int lane = __builtin_ctz(lanes);
        values[lane] = from[lane];
    }
    return load(values);
}

constexpr size_t kMostTileBytes = size_t{640} << 10;

// Sixteen channels of a pixel, from channel c on, leave.
NEARCELL_INLINE void finish(const ConvView& conv, F32x16 sum, size_t c, const float* added,
                            float* out) {
    sum = add(sum, load(conv.bias + c));
    if (added != nullptr) sum = add(sum, load_some(added + c, conv.channels - c));
    sum = min(max(sum, broadcast(conv.low)), broadcast(conv.high));
    store_some(out + c, conv.channels - c, sum);
}

// A stretch of memory that is asked for a little at a time, while something else is computed.
struct Ahead {
    const char* at;
    size_t step;  // bytes a step of the loop
};

template <size_t Q, size_t NB>
NEARCELL_INLINE void conv_tile(const ConvView& conv, size_t first_block, const float* const* pixels,
                               const float* const* added, float* const* out, Ahead ahead) {
    const size_t inner = conv.piece_count * conv.length;
    const float* weights = conv.weights + first_block * inner * kBlock;
    F32x16 sum[Q][NB];
    unroll<Q>([&](auto q) __attribute__((always_inline)) {
        unroll<NB>([&](auto b) __attribute__((always_inline)) { sum[q][b] = broadcast(0.0f); });
    });
    for (size_t t = 0; t < conv.piece_count; ++t) {
        const float* x[Q];
        unroll<Q>([&](auto q)
                      __attribute__((always_inline)) { x[q] = pixels[q] + conv.offsets[t]; });
#pragma GCC unroll 4
        for (size_t j = 0; j < conv.length; ++j, weights += kBlock, ahead.at += ahead.step) {
            __builtin_prefetch(ahead.at, 0, 2);
            F32x16 w[NB];
            unroll<NB>([&](auto b) __attribute__((always_inline)) {
                w[b] = load(weights + b * inner * kBlock);
            });
            unroll<Q>([&](auto q) __attribute__((always_inline)) {
                const F32x16 value = broadcast(x[q][j]);
                unroll<NB>([&](auto b) __attribute__((always_inline)) {
                    sum[q][b] = fma(w[b], value, sum[q][b]);
                });
            });
        }
    }
    unroll<Q>([&](auto q) __attribute__((always_inline)) {
        unroll<NB>([&](auto b) __attribute__((always_inline)) {
            finish(conv, sum[q][b], (first_block + b) * kBlock,
                   added == nullptr ? nullptr : added[q], out[q]);
        });
    });
}

// NB blocks of channels of all pixels. Each tile asks for its share of the next blocks' weights:
// those of deep layers come from memory, and are used by few pixels.
template <size_t NB>
NEARCELL_INLINE void conv_blocks(const ConvView& conv, size_t first_block, size_t block_count,
                                 const float* const* pixels, const float* const* added,
                                 float* const* out, size_t pixel_count) {
    const size_t inner = conv.piece_count * conv.length;
    const size_t next = std::min(NB, block_count - first_block - NB);
    const char* const next_weights =
        reinterpret_cast<const char*>(conv.weights + (first_block + NB) * inner * kBlock);
    const size_t bytes = next * inner * kBlock * sizeof(float);
    const auto run = [&]<size_t Q>(size_t p) __attribute__((always_inline)) {
        const Ahead ahead = {next_weights + bytes * p / pixel_count,
                             next * kBlock * sizeof(float) * Q / pixel_count};
        conv_tile<Q, NB>(conv, first_block, pixels + p, added == nullptr ? nullptr : added + p,
                         out + p, ahead);
    };
    size_t p = 0;
    if constexpr (NB == 1 && kTileBlocks > 1) {  // so few sums would wait for each other
        for (; p + 12 <= pixel_count; p += 12)
            run.template operator()<12>(p);
    }
    for_query_tiles(
        pixel_count - p, [&]<size_t Q>(size_t q)
                             __attribute__((always_inline)) { run.template operator()<Q>(p + q); });
}

void conv_f32(const ConvView* conv, const float* const* pixels, const float* const* added,
              float* const* out, size_t pixel_count) {
    const size_t blocks = padded(conv->channels) / kBlock;
    size_t b = 0;
    const auto run = [&]<size_t NB>() __attribute__((always_inline)) {
        conv_blocks<NB>(*conv, b, blocks, pixels, added, out, pixel_count);
        b += NB;
    };
    if constexpr (kTileBlocks >= 4) {
        // Else a tile's weights and those asked for would not fit the second cache together.
        if (conv->piece_count * conv->length * 4 * kBlock * sizeof(float) <= kMostTileBytes) {
            while (blocks - b == 4 || blocks - b > 5)
                run.template operator()<4>();
            if (blocks - b == 5 || blocks - b == 3) run.template operator()<3>();
        }
    }
    if constexpr (kTileBlocks >= 2) {
        while (blocks - b >= 2)
            run.template operator()<2>();
    }
    while (blocks > b)
        run.template operator()<1>();
}

// Sixteen channels, from c on, of one pixel: a load for each multiply-add.
NEARCELL_INLINE void depthwise_pixel(const ConvView& conv, size_t c, const float* pixel,
                                     const float* added, float* out) {
    const size_t room = padded(conv.channels);
    F32x16 sum = broadcast(0.0f);
    for (size_t t = 0; t < conv.piece_count; ++t)
        sum = fma(load(pixel + conv.offsets[t] + c), load(conv.weights + t * room + c), sum);
    finish(conv, sum, c, added, out);
}

// P pixels of a row, `kStride` steps of the kernel's K wide rows apart: what is loaded serves all
// the pixels that need it.
template <size_t K, size_t kStride, size_t P>
NEARCELL_INLINE void depthwise_row(const ConvView& conv, size_t step, size_t c,
                                   const float* const* pixels, const float* const* added,
                                   float* const* out) {
    const size_t room = padded(conv.channels);
    F32x16 sum[P];
    unroll<P>([&](auto p) __attribute__((always_inline)) { sum[p] = broadcast(0.0f); });
    for (size_t t = 0; t < conv.piece_count; t += K) {
        const float* x = pixels[0] + conv.offsets[t] + c;
        const float* const w = conv.weights + t * room + c;
        unroll<(P - 1) * kStride + K>([&](auto i) __attribute__((always_inline)) {
            const F32x16 value = load(x);
            x += step;
            unroll<K>([&](auto k) __attribute__((always_inline)) {
                if constexpr (i >= k && (i - k) % kStride == 0 && (i - k) / kStride < P) {
                    constexpr size_t p = (i - k) / kStride;
                    sum[p] = fma(value, load(w + k * room), sum[p]);
                }
            });
        });
    }
    unroll<P>([&](auto p) __attribute__((always_inline)) {
        finish(conv, sum[p], c, added == nullptr ? nullptr : added[p], out[p]);
    });
}

// The distance between the pieces of a kernel's rows, when these are K wide and all alike; or 0.
size_t row_step(const ConvView& conv, size_t width) {
    if (conv.piece_count % width != 0) return 0;
    const uint32_t* const offsets = conv.offsets;
    if (offsets[1] <= offsets[0]) return 0;
    const size_t step = offsets[1] - offsets[0];
    for (size_t t = 0; t < conv.piece_count; ++t) {
        if (t % width != 0 && offsets[t] != offsets[t - 1] + step) return 0;
    }
    return step;
}

bool equally_far(const float* const* pixels, size_t count, size_t distance) {
    for (size_t p = 1; p < count; ++p) {
        if (pixels[p] != pixels[p - 1] + distance) return false;
    }
    return true;
}

template <size_t K>
void depthwise_rows(const ConvView& conv, size_t step, const float* const* pixels,
                    const float* const* added, float* const* out, size_t pixel_count) {
    // Channels by channels: their weights and what pixels share stay in the first cache.
    for (size_t c = 0; c < conv.channels; c += kBlock) {
        for (size_t p = 0; p < pixel_count;) {
            const size_t left = pixel_count - p;
            const float* const* const addends = added == nullptr ? nullptr : added + p;
            const auto run = [&]<size_t kStride, size_t P>() __attribute__((always_inline)) {
                if (left < P || !equally_far(pixels + p, P, kStride * step)) return false;
                depthwise_row<K, kStride, P>(conv, step, c, pixels + p, addends, out + p);
                p += P;
                return true;
            };
            if (run.template operator()<1, kPixels>() || run.template operator()<2, kPixels>() ||
                run.template operator()<1, 2>() || run.template operator()<2, 2>())
                continue;
            depthwise_pixel(conv, c, pixels[p], added == nullptr ? nullptr : added[p], out[p]);
            ++p;
        }
    }
}

void depthwise_f32(const DepthwiseView* conv, const float* const* pixels, const float* const* added,
                   float* const* out, size_t pixel_count) {
    if (const size_t step = row_step(*conv, 5); step != 0)
        return depthwise_rows<5>(*conv, step, pixels, added, out, pixel_count);
    if (const size_t step = row_step(*conv, 3); step != 0)
        return depthwise_rows<3>(*conv, step, pixels, added, out, pixel_count);
    for (size_t p = 0; p < pixel_count; ++p) {
        for (size_t c = 0; c < conv->channels; c += kBlock)
            depthwise_pixel(*conv, c, pixels[p], added == nullptr ? nullptr : added[p], out[p]);
    }
}

template <bool kMax>
void pool(const PoolView* pool, const float* const* pixels, float* const* out, size_t pixel_count) {
    const F32x16 scale = broadcast(1.0f / static_cast<float>(pool->piece_count));
    for (size_t p = 0; p < pixel_count; ++p) {
        for (size_t c = 0; c < pool->channels; c += kBlock) {
            const size_t count = pool->channels - c;
            const float* const x = pixels[p] + c;
            F32x16 result = load_some(x + pool->offsets[0], count);
            for (size_t t = 1; t < pool->piece_count; ++t) {
                const F32x16 value = load_some(x + pool->offsets[t], count);
                result = kMax ? max(result, value) : add(result, value);
            }
            store_some(out[p] + c, count, kMax ? result : mul(result, scale));
        }
    }
}

}  // namespace

namespace nearcell {

void NEARCELL_FILL(conv)(KernelTable& table) {
    table.conv_f32 = conv_f32;
    table.depthwise_f32 = depthwise_f32;
    table.max_pool_f32 = pool<true>;
    table.mean_pool_f32 = pool<false>;
}

}  // namespace nearcell
