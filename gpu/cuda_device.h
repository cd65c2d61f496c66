// CudaDevice: a GPU behind the interface of kernels/device.h; cuda_devices() finds those of this
// process, once. Thread safety: all calls may run at once.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include <nearcell/gpu/cuda_backend.h>
#include <nearcell/gpu/simt/host.h>
#include <nearcell/kernels/device.h>

namespace nearcell::gpu {

class CudaDevice : public Device {
   public:
    explicit CudaDevice(int ordinal);

    std::string name() const override { return "cuda:" + std::to_string(ordinal_); }
    std::string describe() const override;
    DeviceMemory memory() const override;
    const Backend& backend() const override;
    std::unique_ptr<DeviceCells> hold(const SearchableCells& cells,
                                      const DeviceOptions& options) const override;
    std::unique_ptr<DeviceNetwork> hold_network(const NetworkSteps& network,
                                                const DeviceOptions& options) const override;
    SearchResult exact_search(const Vectors& base, const Vectors& queries, Metric metric, size_t k,
                              int threads) const override;

    void* allocate(size_t bytes) const override;
    void release(void* memory) const noexcept override;

   private:
    // Starts the device, which is selected, when it was not in use: a list of devices starts none.
    void start() const;
    // Bytes that one index or network may take.
    size_t memory_limit(const DeviceOptions& options) const;

    int ordinal_;
    std::string model_;
    simt::DeviceProperties properties_;
    mutable std::mutex mutex_;
    mutable bool used_ = false;
    mutable std::unique_ptr<CudaBackend> backend_;
};

const DeviceSource& cuda_devices();

}  // namespace nearcell::gpu
