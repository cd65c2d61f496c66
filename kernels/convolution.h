// Views of a network's layers, as plain pointers, for kernels of any device. Activations are pixels
// of consecutive channels, row by row; what a layer reads of them for one output pixel is some
// pieces of memory at fixed distances from the first input value that the pixel needs. So one loop
// serves every kernel size, stride, dilation and group, and borders are zeros in memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include <nearcell/kernels/code_view.h>

namespace nearcell {

// A convolution. Of output pixel p, whose first input value is x: channel c is
//   clamp(bias[c] + added[p][c] + sum over pieces t and values j of
//         x[offsets[t] + j] * weight(c, t * length + j)).
struct ConvView {
    const uint32_t* offsets = nullptr;
    size_t piece_count = 0;
    size_t length = 0;    // values of a piece
    size_t channels = 0;  // of the output
    // Blocks of sixteen channels, as of vectors: [piece_count * length][16] each. Zero past the
    // last channel.
    const float* weights = nullptr;
    const float* bias = nullptr;  // channels, up to a multiple of 16
    float low = 0, high = 0;      // what results are clamped to
};

// A depthwise one: channel c reads x[offsets[t] + c]; length is 1, and weights are [piece_count]
// [channels, up to a multiple of 16].
struct DepthwiseView : ConvView {};

// Pooling: channel c of an output pixel is the largest, or the mean, of x[offsets[t] + c].
struct PoolView {
    const uint32_t* offsets = nullptr;
    size_t piece_count = 0;
    size_t channels = 0;
};

// The activations of one picture: pixel (y, x) is origin[y * row_stride + x * channels ...
// + channels). Around them is a border that reads may reach into.
struct MapView {
    float* origin = nullptr;
    size_t height = 0, width = 0, channels = 0;
    size_t row_stride = 0;  // floats

    float* pixel(size_t y, size_t x) const { return origin + y * row_stride + x * channels; }
    MapView from_channel(size_t channel) const {  // pixels stay as far apart
        MapView view = *this;
        view.origin += channel;
        return view;
    }
};

// A layer over a whole map. Output pixel (y, x) reads from input pixel (y, x) * stride - pad on,
// which may lie in the border.
struct ConvJob {
    ConvView conv;
    bool depthwise = false;
    MapView in, out;
    MapView added;  // origin null: nothing is
    size_t stride = 1, pad_top = 0, pad_left = 0;
};

// Reads what of a window lies within the map: neither the maximum nor the mean sees the border.
struct PoolJob {
    bool mean = false;
    MapView in, out;
    size_t kernel_height = 1, kernel_width = 1, stride = 1, pad_top = 0, pad_left = 0;
};

}  // namespace nearcell
