// Convolutions over all pictures of a batch, as products of matrices that exist nowhere: rows are
// the output pixels of all pictures, columns the output channels, and the inner dimension the
// values of a window, which threads find in the input map by a table (implicit GEMM; Chetlur et
// al., "cuDNN: Efficient Primitives for Deep Learning", 2014, section 3). A linear layer is the
// convolution whose window is the whole map.
//
// A block of 256 threads takes 128 pixels by 32 or 64 channels; 16 values of the windows and of the
// weights come in at a time by cp.async, three stages, one barrier for each. What of a window lies
// beside the map is filled with zeros by the copy. Weights lie as the CPU has them
// (kernels/convolution.h): a stage of them is 1 KiB in a row for each 16 channels.
//
// Cost, of P pixels, K values of a window and N channels: 2 P K N flops. HBM gives the input map
// and the weights once and takes the output; L2 and L1 give 4 P K N / 64 bytes of windows and 4 P K
// N / 128 of weights, 21 flops a byte: the 67 TFLOP/s of float32 of an H100 take 3.1 TB/s of them,
// and of shared memory 16 lines for 128 multiply-adds of a warp, half of what it gives. So the
// multiply-add unit bounds Float32, but layers of 1 x 1 with K N / (K + N) < 40, as those from many
// channels to few are, do less than 20 flops a byte of HBM, which then bounds them.
//
// Tf32x3: each float is big + small, two numbers of 11 bits, and a product is three on tensor
// cores, small * big + big * small + big * big (Markidis et al., "NVIDIA Tensor Core
// Programmability, Performance & Precision", 2018, section V). Tensor cores cut sums instead of
// rounding them, so each stage is summed there from zero, and added to the sum before in float32
// (Ootomo and Yokota, "Recovering single precision accuracy from Tensor Cores", 2022, section 3).
// 24 products of 16 x 8 x 8 for some 100 other instructions of a warp: on sm_90 96 cycles against
// 100 of issue, so 160 TFLOP/s of float32 at best, a third of the tf32 peak. sm_86, sm_89 and
// sm_120 do float32 as fast as a third of their tf32 or faster, and sm_75 has no tf32: there it is
// Float32.
//
// Error of a sum of K products, S the sum of their sizes: Float32, fused multiply-adds in the order
// of the window, from zero: the CPU's bits. Tf32x3: a product loses small * small and what both
// parts do not hold, less than 3 * 2^-22 of it; a stage is 12 blocks of four products, each off by
// less than 6 * 2^-23 of the stage's S (exact_bound.cuh), and K / 16 sums are rounded: less than
// (40 + K / 64) 2^-22 S in all.
//
// Parity and compute-sanitizer on an H100: bench/results/gpu-h100.txt.
#pragma once

#include <nearcell/gpu/kernels/map_output.cuh>

namespace nearcell::gpu {

constexpr int kConvThreads = 256, kConvWarps = kConvThreads / 32;
constexpr int kConvPixels = 128;  // of a block
constexpr int kConvInner = 16;    // values of a stage
constexpr int kConvStages = 3;
// So that what a warp reads at once lies in different banks.
constexpr int kWindowPitch = kConvInner + 4;
constexpr int weight_pitch(int channels) { return channels + 8; }

enum class ConvArithmetic { Float32, Tf32x3 };

// Where products of tf32 are worth three of them; architecture: 75, 80, 86 ...
constexpr ConvArithmetic conv_arithmetic(int architecture) {
    const bool fast = architecture == 80 || architecture / 10 == 9 || architecture / 10 == 10;
    return fast ? ConvArithmetic::Tf32x3 : ConvArithmetic::Float32;
}

// Each device has the code of one of them.
template <ConvArithmetic kArithmetic>
constexpr bool convolves_here() {
#if defined(__CUDA_ARCH__)
    return conv_arithmetic(__CUDA_ARCH__ / 10) == kArithmetic;
#else
    return true;
#endif
}

// Where a value of the window lies, or four that are neighbours: values after the window's first,
// and which row and column of the window.
struct WindowPart {
    unsigned offset;
    unsigned short row, column;
};

struct MapConvolution {
    const float* in;
    const float* added;  // null: nothing is
    float* out;
    const float* weights;            // blocks of 16 channels, each [inner][16], of all groups
    const float* bias;               // 16 for each block
    const WindowPart* parts;         // of each value of a group's window; wide: of each four
    unsigned pixels;                 // of all pictures' output
    unsigned out_width, out_pixels;  // of a picture
    int in_height, in_width;
    unsigned in_channels, out_channels;    // of all groups
    unsigned groups, group_in, group_out;  // channels of a group
    unsigned inner;                        // values of a group's window
    int stride, pad_top, pad_left;
    StepActivation activation;
};

// An output pixel's window: the place of its first value, which may lie beside the map.
struct Window {
    long long first;
    int y, x;
};

SIMT_DEVICE Window window_of(const MapConvolution& conv, unsigned pixel, unsigned group) {
    if (pixel >= conv.pixels) return {0, -(1 << 30), 0};  // no part of it lies within
    const unsigned picture = pixel / conv.out_pixels, within = pixel % conv.out_pixels;
    const int y = static_cast<int>(within / conv.out_width) * conv.stride - conv.pad_top;
    const int x = static_cast<int>(within % conv.out_width) * conv.stride - conv.pad_left;
    const long long row = static_cast<long long>(picture) * conv.in_height + y;
    return {(row * conv.in_width + x) * conv.in_channels +
                static_cast<long long>(group) * conv.group_in,
            y, x};
}

template <int kWidth>
SIMT_DEVICE void copy_part(const MapConvolution& conv, const Window& window, unsigned part,
                           float* to) {
    const float* from = conv.in;
    unsigned bytes = 0;
    if (part * kWidth < conv.inner) {
        const WindowPart of = conv.parts[part];
        const auto y = static_cast<unsigned>(window.y + of.row);
        const auto x = static_cast<unsigned>(window.x + of.column);
        if (y < static_cast<unsigned>(conv.in_height) && x < static_cast<unsigned>(conv.in_width)) {
            from += window.first + of.offset;
            bytes = 4 * kWidth;
        }
    }
    simt::cp_async<4 * kWidth>(to, from, bytes);
}

// A stage in shared memory.
template <int kChannels>
struct ConvStage {
    float windows[kConvPixels][kWindowPitch];
    float weights[kConvInner][weight_pitch(kChannels)];
};

// Four values of a window, from `first` on.
template <bool kWide>
SIMT_DEVICE void copy_values(const MapConvolution& conv, const Window& window, unsigned first,
                             float* to) {
    if constexpr (kWide) {
        copy_part<4>(conv, window, first / 4, to);
    } else {
        SIMT_UNROLL
        for (unsigned i = 0; i < 4; ++i)
            copy_part<1>(conv, window, first + i, to + i);
    }
}

// Starts the copy of a stage, if there is one of this number. Four threads have a pixel's 16
// values, and each has two pixels.
template <bool kWide, int kChannels>
SIMT_DEVICE void copy_stage(const MapConvolution& conv, const Window& upper, const Window& lower,
                            const float* weights, unsigned blocks, unsigned step,
                            ConvStage<kChannels> (&stages)[kConvStages]) {
    const unsigned thread = threadIdx.x, first = step * kConvInner;
    ConvStage<kChannels>& stage = stages[step % kConvStages];
    if (first >= conv.inner) {
        simt::cp_async_commit();  // one each time, as they are counted
        return;
    }
    const unsigned mine = thread % 4 * 4, pixel = thread / 4;
    copy_values<kWide>(conv, upper, first + mine, &stage.windows[pixel][mine]);
    copy_values<kWide>(conv, lower, first + mine, &stage.windows[pixel + kConvPixels / 2][mine]);
    constexpr unsigned kFours = kChannels / 4;
    if (thread < kConvInner * kFours) {
        const unsigned k = thread / kFours, four = thread % kFours, block = four / 4;
        const bool there = first + k < conv.inner && block < blocks;
        const float* const from =
            weights + (size_t{block} * conv.inner + first + k) * 16 + four % 4 * 4;
        simt::cp_async<16>(&stage.weights[k][4 * four], there ? from : weights, there ? 16 : 0);
    }
    simt::cp_async_commit();
}

// What a thread has of a block's product, and where: for both arithmetics sums() hands on four
// consecutive channels of a pixel at a time.
template <ConvArithmetic kArithmetic, int kChannels>
class ConvProduct;

// Thread (p, c) of 256 * 4 / kChannels by kChannels / 4 has pixels p, p + kGroups, ... and four
// channels.
template <int kChannels>
class ConvProduct<ConvArithmetic::Float32, kChannels> {
   public:
    SIMT_DEVICE void add(const ConvStage<kChannels>& stage) {
        SIMT_UNROLL
        for (int k = 0; k < kConvInner; k += 4) {
            Channels<4> weights[4];
            SIMT_UNROLL
            for (int j = 0; j < 4; ++j)
                weights[j] = load_channels<4>(&stage.weights[k + j][4 * four()]);
            SIMT_UNROLL
            for (int i = 0; i < kPixels; ++i) {
                const Channels<4> values =
                    load_channels<4>(&stage.windows[pixel() + i * kGroups][k]);
                SIMT_UNROLL
                for (int j = 0; j < 4; ++j) {
                    SIMT_UNROLL
                    for (int c = 0; c < 4; ++c)
                        sums_[i].at[c] = __fmaf_rn(weights[j].at[c], values.at[j], sums_[i].at[c]);
                }
            }
        }
    }
    template <class F>
    SIMT_DEVICE void sums(F&& f) const {
        SIMT_UNROLL
        for (int i = 0; i < kPixels; ++i)
            f(static_cast<unsigned>(pixel() + i * kGroups), static_cast<unsigned>(4 * four()),
              sums_[i]);
    }

   private:
    static constexpr int kFours = kChannels / 4, kGroups = kConvThreads / kFours,
                         kPixels = kConvPixels / kGroups;
    SIMT_DEVICE static int four() { return static_cast<int>(threadIdx.x) % kFours; }
    SIMT_DEVICE static int pixel() { return static_cast<int>(threadIdx.x) / kFours; }
    Channels<4> sums_[kPixels] = {};
};

SIMT_DEVICE void split_tf32(float value, unsigned& big, unsigned& small) {
    big = simt::round_to_tf32(value);
    small = simt::round_to_tf32(value - __uint_as_float(big));
}

// A warp has 16 or 32 pixels by 32 channels, tiles of 16 by 8.
template <int kChannels>
class ConvProduct<ConvArithmetic::Tf32x3, kChannels> {
   public:
    SIMT_DEVICE void add(const ConvStage<kChannels>& stage) {
        const int group = lane() / 4, place = lane() % 4;
        unsigned big[kSteps][kHeight][4], small[kSteps][kHeight][4];
        SIMT_UNROLL
        for (int k = 0; k < kSteps; ++k) {
            SIMT_UNROLL
            for (int m = 0; m < kHeight; ++m) {
                SIMT_UNROLL
                for (int i = 0; i < 4; ++i)
                    split_tf32(stage.windows[row() + 16 * m + group + i % 2 * 8]
                                            [8 * k + place + i / 2 * 4],
                               big[k][m][i], small[k][m][i]);
            }
        }
        SIMT_UNROLL
        for (int n = 0; n < 4; ++n) {
            float part[kHeight][4] = {};
            SIMT_UNROLL
            for (int k = 0; k < kSteps; ++k) {
                unsigned big_weights[2], small_weights[2];
                SIMT_UNROLL
                for (int i = 0; i < 2; ++i)
                    split_tf32(stage.weights[8 * k + place + 4 * i][column() + 8 * n + group],
                               big_weights[i], small_weights[i]);
                SIMT_UNROLL
                for (int m = 0; m < kHeight; ++m) {
                    simt::mma_m16n8k8_tf32(part[m], small[k][m], big_weights);
                    simt::mma_m16n8k8_tf32(part[m], big[k][m], small_weights);
                    simt::mma_m16n8k8_tf32(part[m], big[k][m], big_weights);
                }
            }
            SIMT_UNROLL
            for (int m = 0; m < kHeight; ++m) {
                SIMT_UNROLL
                for (int i = 0; i < 4; ++i)
                    sums_[m][n][i] += part[m][i];
            }
        }
    }
    // Of a tile, neighbours exchange what they have of their two rows: each gets four channels of
    // one.
    template <class F>
    SIMT_DEVICE void sums(F&& f) const {
        const bool odd = lane() % 2 != 0;
        SIMT_UNROLL
        for (int m = 0; m < kHeight; ++m) {
            SIMT_UNROLL
            for (int n = 0; n < 4; ++n) {
                const float(&mine)[4] = sums_[m][n];
                const float first = __shfl_xor_sync(0xffffffffu, odd ? mine[0] : mine[2], 1);
                const float second = __shfl_xor_sync(0xffffffffu, odd ? mine[1] : mine[3], 1);
                const Channels<4> four{{odd ? first : mine[0], odd ? second : mine[1],
                                        odd ? mine[2] : first, odd ? mine[3] : second}};
                const int pixel = row() + 16 * m + lane() / 4 + (odd ? 8 : 0);
                const int channel = column() + 8 * n + lane() % 4 / 2 * 4;
                f(static_cast<unsigned>(pixel), static_cast<unsigned>(channel), four);
            }
        }
    }

   private:
    static constexpr int kSteps = kConvInner / 8;
    static constexpr int kHeight = kChannels / 32, kDown = kConvPixels / (16 * kHeight);
    static_assert(kDown * kChannels / 32 == kConvWarps);
    SIMT_DEVICE static int lane() { return static_cast<int>(threadIdx.x) % 32; }
    SIMT_DEVICE static int warp() { return static_cast<int>(threadIdx.x) / 32; }
    SIMT_DEVICE static int row() { return warp() % kDown * 16 * kHeight; }
    SIMT_DEVICE static int column() { return warp() / kDown * 32; }
    float sums_[kHeight][4][4] = {};
};

// Four channels of an output pixel leave; `channel` counts within the group.
SIMT_DEVICE void store_pixel(const MapConvolution& conv, unsigned pixel, unsigned group,
                             unsigned channel, const Channels<4>& sums) {
    if (pixel >= conv.pixels || channel >= conv.group_out) return;
    const size_t place =
        size_t{pixel} * conv.out_channels + size_t{group} * conv.group_out + channel;
    const float* const bias =
        conv.bias + size_t{group} * ((conv.group_out + 15) / 16 * 16) + channel;
    const float* const added = conv.added == nullptr ? nullptr : conv.added + place;
    if (conv.out_channels % 4 == 0 && conv.group_out % 4 == 0) {
        finish_channels<4>(conv.activation, bias, added, sums, conv.out + place);
        return;
    }
    SIMT_UNROLL
    for (unsigned i = 0; i < 4; ++i) {
        if (channel + i < conv.group_out)
            finish_channels<1>(conv.activation, bias + i, added == nullptr ? nullptr : added + i,
                               {{sums.at[i]}}, conv.out + place + i);
    }
}

template <ConvArithmetic kArithmetic, bool kWide, int kChannels>
SIMT_DEVICE void convolve_block(const MapConvolution& conv) {
    SIMT_SHARED(stages, ConvStage<kChannels>[kConvStages]);
    const unsigned tiles = (conv.group_out + kChannels - 1) / kChannels;
    const unsigned tile = blockIdx.x % tiles, group = blockIdx.x / tiles % conv.groups;
    const unsigned first_pixel = blockIdx.x / tiles / conv.groups * kConvPixels;
    const unsigned all_blocks = (conv.group_out + 15) / 16, first_block = tile * (kChannels / 16);
    const unsigned blocks = all_blocks - first_block;
    const float* const weights =
        conv.weights + (size_t{group} * all_blocks + first_block) * conv.inner * 16;
    const unsigned mine = first_pixel + threadIdx.x / 4;
    const Window upper = window_of(conv, mine, group);
    const Window lower = window_of(conv, mine + kConvPixels / 2, group);
    ConvProduct<kArithmetic, kChannels> product;
    const unsigned steps = (conv.inner + kConvInner - 1) / kConvInner;
    copy_stage<kWide>(conv, upper, lower, weights, blocks, 0, stages);
    copy_stage<kWide>(conv, upper, lower, weights, blocks, 1, stages);
    for (unsigned step = 0; step < steps; ++step) {
        simt::cp_async_wait<1>();
        __syncthreads();  // all have the stage, and have done with the one that is filled next
        copy_stage<kWide>(conv, upper, lower, weights, blocks, step + 2, stages);
        product.add(stages[step % kConvStages]);
    }
    simt::cp_async_wait<0>();  // of the groups without copies behind the last stage
    product.sums([&](unsigned pixel, unsigned channel, const Channels<4>& sums) {
        store_pixel(conv, first_pixel + pixel, group, tile * kChannels + channel, sums);
    });
}

// gridDim.x: tiles of channels, fastest, so that blocks in flight share the windows; then groups,
// then tiles of pixels. kWide: channels of input and group are multiples of four.
template <ConvArithmetic kArithmetic, bool kWide, int kChannels>
__global__ void __launch_bounds__(kConvThreads, 2) convolve_maps(MapConvolution conv) {
    if constexpr (convolves_here<kArithmetic>())
        convolve_block<kArithmetic, kWide, kChannels>(conv);
    else
        __trap();
}

}  // namespace nearcell::gpu
