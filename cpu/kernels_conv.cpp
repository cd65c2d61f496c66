// Convolutions and pooling of pixels of consecutive channels.
//
// conv_f32, loop: one input value of Q output pixels and NB blocks of sixteen output channels a
// step: the tile of tile.h, bound by the multiply-add unit; the weights of a tile come from the
// second cache, a line for every Q multiply-adds. depthwise_f32 and pooling, loop: a piece of P
// pixels and sixteen channels a step, P loads for P multiply-adds: bound by the loads of the first
// cache where it holds the rows that are read.
#include <nearcell/cpu/simd.h>
#include <nearcell/cpu/tile.h>
#include <nearcell/kernels/kernel_table.h>

namespace {

using nearcell::ConvView;
using nearcell::DepthwiseView;
using nearcell::PoolView;

#if defined(NEARCELL_SANITIZED)
constexpr size_t kPixels = 1;
#elif defined(__AVX512F__)
constexpr size_t kPixels = 8;
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

// Sixteen channels of a pixel, from channel c on, leave.
NEARCELL_INLINE void finish(const ConvView& conv, F32x16 sum, size_t c, const float* added,
                            float* out) {
    sum = add(sum, load(conv.bias + c));
    if (added != nullptr) sum = add(sum, load_some(added + c, conv.channels - c));
    sum = min(max(sum, broadcast(conv.low)), broadcast(conv.high));
    store_some(out + c, conv.channels - c, sum);
}

template <size_t Q, size_t NB>
NEARCELL_INLINE void conv_tile(const ConvView& conv, size_t first_block, const float* const* pixels,
                               const float* const* added, float* const* out) {
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
        for (size_t j = 0; j < conv.length; ++j, weights += kBlock) {
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

void conv_f32(const ConvView* conv, const float* const* pixels, const float* const* added,
              float* const* out, size_t pixel_count) {
    for_block_tiles(
        padded(conv->channels) / kBlock, [&]<size_t NB>(
                                             size_t first) __attribute__((always_inline)) {
            for_query_tiles(
                pixel_count, [&]<size_t Q>(size_t p) __attribute__((always_inline)) {
                    conv_tile<Q, NB>(*conv, first, pixels + p,
                                     added == nullptr ? nullptr : added + p, out + p);
                });
        });
}

// P pixels, sixteen channels from c on.
template <size_t P>
NEARCELL_INLINE void depthwise_tile(const ConvView& conv, size_t c, const float* const* pixels,
                                    const float* const* added, float* const* out) {
    const size_t room = padded(conv.channels);
    F32x16 sum[P];
    unroll<P>([&](auto p) __attribute__((always_inline)) { sum[p] = broadcast(0.0f); });
    for (size_t t = 0; t < conv.piece_count; ++t) {
        const F32x16 w = load(conv.weights + t * room + c);
        const size_t at = conv.offsets[t] + c;
        unroll<P>([&](auto p) __attribute__((always_inline)) {
            sum[p] = fma(load(pixels[p] + at), w, sum[p]);
        });
    }
    unroll<P>([&](auto p) __attribute__((always_inline)) {
        finish(conv, sum[p], c, added == nullptr ? nullptr : added[p], out[p]);
    });
}

void depthwise_f32(const DepthwiseView* conv, const float* const* pixels, const float* const* added,
                   float* const* out, size_t pixel_count) {
    size_t p = 0;
    const auto run = [&]<size_t P>() __attribute__((always_inline)) {
        for (; p + P <= pixel_count; p += P) {
            for (size_t c = 0; c < conv->channels; c += kBlock) {
                depthwise_tile<P>(*conv, c, pixels + p, added == nullptr ? nullptr : added + p,
                                  out + p);
            }
        }
    };
    run.template operator()<kPixels>();
    run.template operator()<1>();
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
