#include "device_facts.h"

#include <algorithm>
#include <chrono>
#include <string_view>

#include <nearcell/gpu/device_array.h>

namespace nearcell::bench {
namespace {

// From NVIDIA's data sheets. The first whose name is part of the model's counts.
struct Peaks {
    std::string_view model;
    double bytes_per_second, products;
};
constexpr Peaks kPeaks[] = {
    {"H200", 4.8e12, 989.4e12},
    {"H100 80GB HBM3", 3.35e12, 989.4e12},
    {"H100 PCIe", 2.0e12, 756e12},
    {"A100-SXM4-80GB", 2.039e12, 312e12},
    {"A100-SXM4-40GB", 1.555e12, 312e12},
    {"L40S", 0.864e12, 362e12},
    {"L4", 0.3e12, 121e12},
};

}  // namespace

DeviceFacts device_facts() {
    DeviceFacts facts;
    const simt::DeviceProperties properties = simt::device_properties();
    facts.model = simt::device_model(simt::selected_device());
    facts.architecture = properties.architecture;
    facts.processors = properties.processors;
    facts.memory_bytes = static_cast<double>(properties.memory_bytes);
    const auto* const found = std::find_if(
        std::begin(kPeaks), std::end(kPeaks),
        [&](const Peaks& one) { return facts.model.find(one.model) != std::string::npos; });
    if (found != std::end(kPeaks)) {
        facts.peak_bytes_per_second = found->bytes_per_second;
        facts.peak_products = found->products;
    }
#ifdef NEARCELL_CUDA
    simt::check_cuda(cudaDriverGetVersion(&facts.driver), "cudaDriverGetVersion");
    simt::check_cuda(cudaRuntimeGetVersion(&facts.runtime), "cudaRuntimeGetVersion");
    int device = 0, kilohertz = 0;
    simt::check_cuda(cudaGetDevice(&device), "cudaGetDevice");
    if (cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, device) == cudaSuccess)
        facts.most_clock_mhz = kilohertz / 1000.0;
    else
        cudaGetLastError();  // not known, then
#endif
    return facts;
}

double copy_rate(size_t bytes) {
    using Clock = std::chrono::steady_clock;
    const simt::Stream stream = simt::create_stream();
    double best = 0;
    {
        gpu::DeviceArray<std::byte> from(bytes, stream), to(bytes, stream);
        from.fill_zero();
        simt::synchronize(stream);
        for (int i = 0; i < 10; ++i) {
            const auto start = Clock::now();
            simt::copy_on_device(to.data(), from.data(), bytes, stream);
            simt::synchronize(stream);
            const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
            best = std::max(best, 2 * static_cast<double>(bytes) / seconds);
        }
    }
    simt::synchronize(stream);
    simt::destroy_stream(stream);
    return best;
}

}  // namespace nearcell::bench
