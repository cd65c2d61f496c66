#include <nearcell/gpu/cuda_device.h>

#include <cstdio>
#include <memory>

#include <nearcell/gpu/device_cells.h>
#include <nearcell/gpu/device_network.h>
#include <nearcell/gpu/exact_search.h>

namespace nearcell::gpu {
namespace {

constexpr size_t kReserve = 10;  // a part of free memory that is left where no limit is given

std::string in_gibibytes(size_t bytes) {
    char text[32];
    std::snprintf(text, sizeof(text), "%.1f GiB", static_cast<double>(bytes) / double{1 << 30});
    return text;
}

class CudaSource : public DeviceSource {
   public:
    CudaSource() {
        const simt::DeviceCount found = simt::count_devices();
        why_ = found.why;
        for (int i = 0; i < found.count; ++i)
            devices_.push_back(std::make_unique<CudaDevice>(i));
    }
    std::vector<const Device*> list() const override {
        std::vector<const Device*> list;
        for (const auto& device : devices_)
            list.push_back(device.get());
        return list;
    }
    std::string why() const override { return why_; }

   private:
    std::vector<std::unique_ptr<CudaDevice>> devices_;
    std::string why_;
};

}  // namespace

CudaDevice::CudaDevice(int ordinal)
    : ordinal_(ordinal),
      model_(simt::device_model(ordinal)),
      properties_(simt::device_properties(ordinal)) {}

void CudaDevice::start() const {
    const std::lock_guard lock(mutex_);
    if (!used_) simt::keep_freed_memory();
    used_ = true;
}

const Backend& CudaDevice::backend() const {
    const DeviceScope scope(ordinal_);
    start();
    const std::lock_guard lock(mutex_);
    if (!backend_)
        backend_ = std::make_unique<CudaBackend>(CudaBackendOptions{.ordinal = ordinal_});
    return *backend_;
}

std::string CudaDevice::describe() const {
    return name() + " " + model_ + ", sm_" + std::to_string(properties_.architecture) + ", " +
           std::to_string(properties_.processors) + " processors, " +
           in_gibibytes(properties_.memory_bytes);
}

DeviceMemory CudaDevice::memory() const {
    const DeviceScope scope(ordinal_);
    start();
    const simt::MemoryState state = simt::memory_state();
    return {state.total, state.free};
}

std::unique_ptr<DeviceCells> CudaDevice::hold(const SearchableCells& cells,
                                              const DeviceOptions& options) const {
    const DeviceScope scope(ordinal_);
    start();
    return std::make_unique<CudaCells>(cells, options, ordinal_, memory_limit(options));
}

std::unique_ptr<DeviceNetwork> CudaDevice::hold_network(const NetworkSteps& network,
                                                        const DeviceOptions& options) const {
    const DeviceScope scope(ordinal_);
    start();
    return std::make_unique<CudaNetwork>(network, options, ordinal_, memory_limit(options));
}

size_t CudaDevice::memory_limit(const DeviceOptions& options) const {
    const size_t free = simt::memory_state().free;
    return options.memory_bytes != 0 ? options.memory_bytes : free - free / kReserve;
}

SearchResult CudaDevice::exact_search(const Vectors& base, const Vectors& queries, Metric metric,
                                      size_t k, int threads) const {
    const DeviceScope scope(ordinal_);
    start();
    DeviceFlatOptions options;
    options.threads = threads;
    return device_exact_search(base, queries, metric, k, options);
}

void* CudaDevice::allocate(size_t bytes) const {
    const DeviceScope scope(ordinal_);
    start();
    void* const memory = simt::device_allocate(bytes, simt::Stream{});
    simt::synchronize(simt::Stream{});  // so that it may be used in any stream
    return memory;
}

void CudaDevice::release(void* memory) const noexcept {
    try {
        const DeviceScope scope(ordinal_);
        simt::synchronize_device();
        simt::device_free(memory, simt::Stream{});
    } catch (...) {  // after a failure that was thrown already
    }
}

const DeviceSource& cuda_devices() {
    static const CudaSource source;
    return source;
}

}  // namespace nearcell::gpu
