// The steps of a network that are not products of matrices: depthwise convolutions, pooling, sums
// and softmax, and the way of pictures from planes to pixels and back. Maps are as map_output.cuh
// says. All are bound by HBM, of which a map is read and the result written once, 3.3 TB/s on an
// H100; what of windows overlaps comes from L1.
//
// depthwise_maps: a thread has kRowPixels pixels of a row and four channels, so that a weight that
// is loaded serves these. Of 3 x 3 values 45 loads for 4 pixels of output, 11 bytes of L1 for each
// that is written: 29 TB/s of an H100 write 2.6 TB/s, more than HBM takes beside the reading.
//
// Sums of products and of a window are in the CPU's order: the same bits (but 1 / (1 + exp(-x))).
// Softmax: the exponential's error, 2^-22 at most, and that of a sum of float32 by lanes.
// Ran on an H100 (bench/results/gpu-h100.txt).
#pragma once

#include <nearcell/gpu/kernels/map_output.cuh>

namespace nearcell::gpu {

constexpr int kMapThreads = 256;
constexpr unsigned kRowPixels = 4;  // of depthwise_maps

// Windows of every channel by itself.
struct MapWindows {
    const float* in;
    const float* added;  // of depthwise_maps; null: nothing is
    float* out;
    const float* weights;  // of depthwise_maps: [rows * columns][channels, to a multiple of 16]
    const float* bias;
    unsigned pictures, channels;
    int in_height, in_width, out_height, out_width;
    int rows, columns, stride, pad_top, pad_left;
    bool mean;  // of pool_maps
    StepActivation activation;
};

SIMT_DEVICE const float* input_pixel(const MapWindows& windows, size_t picture, int y, int x) {
    const size_t row = picture * static_cast<size_t>(windows.in_height) + static_cast<size_t>(y);
    return windows.in + (row * static_cast<size_t>(windows.in_width) + static_cast<size_t>(x)) *
                            windows.channels;
}

SIMT_DEVICE size_t output_place(const MapWindows& windows, size_t picture, int y, int x) {
    const size_t row = picture * static_cast<size_t>(windows.out_height) + static_cast<size_t>(y);
    return (row * static_cast<size_t>(windows.out_width) + static_cast<size_t>(x)) *
           windows.channels;
}

// What thread number i has: a picture, a row of its output, kPixels pixels of it and kWidth
// channels, of which the last are the next thread's neighbours.
struct MapPart {
    size_t picture;
    int y, x;
    unsigned channel;
};

template <int kWidth, unsigned kPixels>
SIMT_DEVICE bool part_of_thread(const MapWindows& windows, MapPart& part) {
    const unsigned width = windows.channels / kWidth;
    const unsigned across = (static_cast<unsigned>(windows.out_width) + kPixels - 1) / kPixels;
    const auto height = static_cast<unsigned>(windows.out_height);
    size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    part.channel = static_cast<unsigned>(i % width) * kWidth;
    i /= width;
    part.x = static_cast<int>(i % across * kPixels);
    i /= across;
    part.y = static_cast<int>(i % height);
    part.picture = i / height;
    return part.picture < windows.pictures;
}

template <int kWidth>
__global__ void __launch_bounds__(kMapThreads) depthwise_maps(MapWindows windows) {
    MapPart part;
    if (!part_of_thread<kWidth, kRowPixels>(windows, part)) return;
    const size_t room = (windows.channels + 15) / 16 * 16;
    const int top = part.y * windows.stride - windows.pad_top;
    const int left = part.x * windows.stride - windows.pad_left;
    Channels<kWidth> sums[kRowPixels] = {};
    for (int row = 0; row < windows.rows; ++row) {
        const int y = top + row;
        if (y < 0 || y >= windows.in_height) continue;
        const float* const from = input_pixel(windows, part.picture, y, 0) + part.channel;
        for (int column = 0; column < windows.columns; ++column) {
            const size_t tap = static_cast<size_t>(row) * static_cast<size_t>(windows.columns) +
                               static_cast<size_t>(column);
            const auto weight = load_channels<kWidth>(windows.weights + tap * room + part.channel);
            SIMT_UNROLL
            for (unsigned p = 0; p < kRowPixels; ++p) {
                const int x = left + static_cast<int>(p) * windows.stride + column;
                if (x < 0 || x >= windows.in_width) continue;
                const auto value =
                    load_channels<kWidth>(from + static_cast<size_t>(x) * windows.channels);
                SIMT_UNROLL
                for (int c = 0; c < kWidth; ++c)
                    sums[p].at[c] = __fmaf_rn(value.at[c], weight.at[c], sums[p].at[c]);
            }
        }
    }
    SIMT_UNROLL
    for (unsigned p = 0; p < kRowPixels; ++p) {
        const int x = part.x + static_cast<int>(p);
        if (x >= windows.out_width) continue;
        const size_t place = output_place(windows, part.picture, part.y, x) + part.channel;
        finish_channels<kWidth>(windows.activation, windows.bias + part.channel,
                                windows.added == nullptr ? nullptr : windows.added + place, sums[p],
                                windows.out + place);
    }
}

template <int kWidth>
__global__ void __launch_bounds__(kMapThreads) pool_maps(MapWindows windows) {
    MapPart part;
    if (!part_of_thread<kWidth, 1>(windows, part)) return;
    const int top = part.y * windows.stride - windows.pad_top;
    const int left = part.x * windows.stride - windows.pad_left;
    const int first_row = max(top, 0), last_row = min(top + windows.rows, windows.in_height);
    const int first_column = max(left, 0),
              last_column = min(left + windows.columns, windows.in_width);
    Channels<kWidth> result{};
    bool begun = false;
    for (int y = first_row; y < last_row; ++y) {
        for (int x = first_column; x < last_column; ++x) {
            const auto value =
                load_channels<kWidth>(input_pixel(windows, part.picture, y, x) + part.channel);
            SIMT_UNROLL
            for (int c = 0; c < kWidth; ++c) {
                if (windows.mean)
                    result.at[c] += value.at[c];
                else if (!begun || value.at[c] > result.at[c])
                    result.at[c] = value.at[c];
            }
            begun = true;
        }
    }
    const float scale =
        __fdiv_rn(1.0f, static_cast<float>((last_row - first_row) * (last_column - first_column)));
    SIMT_UNROLL
    for (int c = 0; c < kWidth; ++c)
        result.at[c] =
            activated(windows.activation, windows.mean ? result.at[c] * scale : result.at[c]);
    const size_t place = output_place(windows, part.picture, part.y, part.x) + part.channel;
    store_channels<kWidth>(windows.out + place, result);
}

// A thread a value.
__global__ void __launch_bounds__(kMapThreads)
    add_maps(const float* a, const float* b, size_t count, StepActivation activation, float* out) {
    const size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i < count) out[i] = activated(activation, a[i] + b[i]);
}

// A warp a pixel.
__global__ void __launch_bounds__(kMapThreads)
    softmax_maps(const float* in, size_t pixels, unsigned channels, StepActivation activation,
                 float* out) {
    const size_t pixel = (size_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
    if (pixel >= pixels) return;
    const float* const from = in + pixel * channels;
    float most = from[0], sum = 0;
    for (unsigned c = threadIdx.x % 32; c < channels; c += 32)
        most = max(most, from[c]);
    for (int bits = 16; bits > 0; bits /= 2)
        most = max(most, __shfl_xor_sync(0xffffffffu, most, bits));
    for (unsigned c = threadIdx.x % 32; c < channels; c += 32)
        sum += exp(from[c] - most);
    for (int bits = 16; bits > 0; bits /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, bits);
    for (unsigned c = threadIdx.x % 32; c < channels; c += 32)
        out[pixel * channels + c] = activated(activation, __fdiv_rn(exp(from[c] - most), sum));
}

// Planes of each picture become pixels of consecutive channels. A thread a pixel, as planes are
// read in order and channels of pictures are few.
__global__ void __launch_bounds__(kMapThreads)
    planes_to_pixels(const float* planes, size_t pictures, size_t pixels, unsigned channels,
                     float* map) {
    const size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i >= pictures * pixels) return;
    const float* const from = planes + i / pixels * pixels * channels + i % pixels;
    for (unsigned c = 0; c < channels; ++c)
        map[i * channels + c] = from[c * pixels];
}

// And back, of a map that is wanted as it is. A thread a value; lines are read for some bytes each,
// which maps near the end of a network, where they are wanted, are small enough for.
__global__ void __launch_bounds__(kMapThreads)
    pixels_to_planes(const float* map, size_t pictures, size_t pixels, unsigned channels,
                     float* planes) {
    const size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i >= pictures * pixels * channels) return;
    const size_t pixel = i % pixels, c = i / pixels % channels, picture = i / pixels / channels;
    planes[i] = map[(picture * pixels + pixel) * channels + c];
}

}  // namespace nearcell::gpu
