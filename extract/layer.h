// Layer: one step of a network, as data. A network is a list of these in the order of work; each
// names the layers that it reads, and the tensors of a weights file that it multiplies with.
#pragma once

#include <cstddef>
#include <string>

namespace nearcell {

enum class LayerKind {
    Convolution,  // weight [channels, input channels / groups, kernel, kernel]
    Linear,       // weight [channels, values of its input], which are taken channel by channel
    MaxPool,      // the padding is no part of a window
    MeanPool,     // likewise
    GlobalMean,   // over all pixels
    Add,          // of `input` and `added`
    Softmax       // over the channels of each pixel
};

enum class Activation { None, Relu, Relu6, Silu };

// Same: as TensorFlow's, ceil(size / stride) output pixels, what is odd after the picture.
// Explicit: `pad` pixels on each side, as PyTorch's.
enum class Padding { Explicit, Same };

constexpr const char* kNetworkInput = "input";

struct Layer {
    std::string name;
    LayerKind kind = LayerKind::Convolution;
    std::string input;  // a layer before this one, or kNetworkInput; empty: the one before
    // Of Add; of Convolution and Linear, before the activation; empty: nothing.
    std::string added = {};
    size_t channels = 0;  // Convolution, Linear
    size_t kernel = 1, stride = 1, groups = 1;
    Padding padding = Padding::Explicit;
    size_t pad = 0;
    Activation activation = Activation::None;
    // Tensors `weights`.weight and, if it is there, `weights`.bias; empty: the layer's name.
    std::string weights = {};
    // Batch norm behind the convolution: tensors .weight, .bias, .running_mean and .running_var of
    // this name; empty: none. It becomes part of the weights.
    std::string batch_norm = {};
    double epsilon = 1e-5;  // of the batch norm
};

}  // namespace nearcell
