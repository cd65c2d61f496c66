// Network: the forward pass of a convolutional network over pictures, up to the layer whose output
// is wanted as a feature. Made of a list of layers (extract/layer.h) and the tensors of a weights
// file; batch norms become part of the weights. Cost: the multiply-adds of the layers, see
// cpu/kernels_conv.cpp; memory: the weights once, and for each thread the activations that are
// needed at one time. Immutable but for to(); safe from any number of threads. The same bits for
// any number of threads and on every instruction set with fused multiply-adds; on a GPU within 1e-4
// of the largest.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nearcell/core/aligned_buffer.h>
#include <nearcell/core/matrix_view.h>
#include <nearcell/core/progress.h>
#include <nearcell/extract/layer.h>
#include <nearcell/extract/resize.h>
#include <nearcell/extract/safetensors.h>
#include <nearcell/kernels/device.h>

namespace nearcell {

struct MapShape {
    size_t height = 0, width = 0, channels = 0;
    size_t values() const { return height * width * channels; }
    bool operator==(const MapShape&) const = default;
};

// What a layer takes for one picture; bytes: its weights, what it reads and what it writes, once.
struct LayerCost {
    std::string name;
    MapShape output;
    uint64_t multiply_adds = 0, bytes = 0;
};

class Network {
   public:
    // input: of a picture, as planes of `channels`. Layers that `tap` does not need are left out,
    // with their weights. Throws InvalidArgument naming the layer that cannot be; for a tensor
    // NotFound (missing), Corrupt (of another shape), Unsupported (of integers). What NaN and
    // infinity among the weights make of features is not defined.
    Network(const std::vector<Layer>& layers, const Weights& weights, MapShape input,
            std::string_view tap);
    ~Network();
    Network(Network&&) noexcept;
    Network& operator=(Network&&) noexcept;

    MapShape input_shape() const;
    MapShape output_shape() const;
    // Layers that are computed, in order; the last is the tap.
    std::vector<std::string> layers() const;
    std::vector<LayerCost> costs() const;
    uint64_t multiply_adds() const;  // of one picture

    // Moves forward() to a device, "cuda:0" for example, which gets a copy of the weights, or back
    // to the "cpu". Excludes all other calls. Throws NoDevice, saying what is missing, OutOfMemory
    // and Unsupported, and then leaves it where it is.
    void to(std::string_view device, const DeviceOptions& options = {});
    std::string device() const;
    // Pictures that a call of forward() should have at least, for its device to be used well.
    size_t batch_pictures() const;

    // A row of pictures is the planes of one, channel by channel and each row by row; a row of out
    // is the tap's output in the same order. Throws InvalidArgument when the columns are not
    // input_shape().values() and output_shape().values(), Cancelled.
    void forward(MatrixView<const float> pictures, MatrixView<float> out, int threads,
                 const Progress& progress = {}) const;

    // The same for one picture at a time, on the CPU, with memory that is used again: for one
    // thread, while the network is there.
    class Pass;

   private:
    struct Plan;
    std::unique_ptr<const Plan> plan_;
    const Device* device_ = nullptr;  // null: the CPU
    std::unique_ptr<const DeviceNetwork> held_;
};

class Network::Pass {
   public:
    explicit Pass(const Network& network);
    // planes: input_shape().values(); out: output_shape().values(). layer_seconds: of each layer,
    // or empty.
    void run(std::span<const float> planes, std::span<float> out,
             std::span<double> layer_seconds = {});

   private:
    const Plan& plan_;
    std::vector<AlignedBuffer<float>> slots_;  // each may hold the maps of several layers in turn
};

}  // namespace nearcell
