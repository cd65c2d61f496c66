// A network as a device takes it (NetworkSteps), and the copy of one that a device holds
// (DeviceNetwork), on which whole pictures pass there, planes in and features out. Made by
// Device::hold_network of what extract/ has planned.
#pragma once

#include <cstddef>
#include <limits>
#include <vector>

#include <nearcell/core/matrix_view.h>
#include <nearcell/kernels/convolution.h>

namespace nearcell {

enum class StepKind {
    Convolution,  // a linear layer, too: its kernel is the whole map
    Depthwise,    // a convolution of each channel by itself
    MaxPool,      // of what of a window lies within the map
    MeanPool,     // likewise; the mean of a whole map, too
    Add,          // of `input` and `added`
    Softmax       // over the channels of each pixel
};

// What a step gives, or the picture. Maps of one slot are never needed at the same time.
struct NetworkMap {
    size_t height = 0, width = 0, channels = 0;
    size_t slot = 0;
    size_t pixels() const { return height * width; }
    size_t values() const { return pixels() * channels; }
};

struct NetworkStep {
    StepKind kind = StepKind::Convolution;
    // Maps, of those before; added: 0 is none. Convolutions add before the activation.
    size_t input = 0, added = 0;
    size_t kernel_height = 1, kernel_width = 1, stride = 1, pad_top = 0, pad_left = 0;
    // Of a convolution: bias and weights, in their order of window row, window column and input
    // channel, of each group of channels; of a depthwise one, of all. (offsets and length are those
    // of a map with a border, and do not count here.)
    std::vector<ConvView> groups;
    // The activation: results are clamped, or become x / (1 + exp(-x)).
    float low = -std::numeric_limits<float>::infinity();
    float high = std::numeric_limits<float>::infinity();
    bool silu = false;
};

// Pointers belong to the network.
struct NetworkSteps {
    std::vector<NetworkMap> maps;    // the picture, then each step's output
    std::vector<NetworkStep> steps;  // step i gives map i + 1
};

// Cost: the multiply-adds of the layers, and the pictures' way over the bus. Thread safety: calls
// may run at once, each with memory of its own.
class DeviceNetwork {
   public:
    virtual ~DeviceNetwork() = default;
    virtual size_t memory_bytes() const = 0;
    // How many pictures pass together, at most: a call with fewer uses the device less well.
    virtual size_t batch_pictures() const = 0;

    // Both in host memory; a row of pictures is the planes of one, a row of out those of the last
    // map. Features are the CPU's within 1e-4 of the largest, and the same for a picture whatever
    // others come with it. threads: of the host, for copies.
    virtual void forward(MatrixView<const float> pictures, MatrixView<float> out,
                         int threads) const = 0;
};

}  // namespace nearcell
