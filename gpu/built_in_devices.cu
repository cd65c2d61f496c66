// In a library that is built with CUDA, the devices are CUDA's (without it:
// kernels/no_devices.cpp).
#include <nearcell/gpu/cuda_device.h>

namespace nearcell {

const DeviceSource& built_in_devices() { return gpu::cuda_devices(); }

}  // namespace nearcell
