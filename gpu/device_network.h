// CudaNetwork: the copy of a network on a GPU (kernels/device_network.h, DeviceNetwork): weights
// once, and for each call maps of the pictures that pass together. Thread safety: calls may run at
// once, each in a session of its own.
#pragma once

#include <vector>

#include <nearcell/gpu/device_array.h>
#include <nearcell/gpu/session.h>
#include <nearcell/kernels/device.h>
#include <nearcell/gpu/kernels/convolve_maps.cuh>

namespace nearcell::gpu {

class CudaNetwork : public DeviceNetwork {
   public:
    // memory_limit: bytes that this object may take.
    CudaNetwork(const NetworkSteps& network, const DeviceOptions& options, int ordinal,
                size_t memory_limit);

    size_t memory_bytes() const override { return budget_.used(); }
    size_t batch_pictures() const override { return batch_; }
    void forward(MatrixView<const float> pictures, MatrixView<float> out,
                 int threads) const override;

   private:
    class Call;

    struct Step {
        NetworkStep plan;
        DeviceArray<float> weights, bias;
        DeviceArray<WindowPart> parts;
        size_t group_count = 1;
        bool wide = false;  // four values of a window lie together
    };

    void check_size() const;
    void hold_weights(const NetworkMap& in, Step& step);
    void hold_parts(const NetworkMap& in, Step& step);

    int ordinal_;
    ConvArithmetic arithmetic_;
    mutable MemoryBudget budget_;
    OwnStream stream_;  // of the constructor
    std::vector<NetworkMap> maps_;
    std::vector<Step> steps_;
    std::vector<size_t> slot_values_;
    size_t batch_ = 1;
    mutable SessionPool sessions_;
};

}  // namespace nearcell::gpu
