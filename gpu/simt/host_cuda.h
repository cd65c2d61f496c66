// host.h on the CUDA runtime.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include <nearcell/core/error.h>

namespace nearcell::simt {

using Stream = cudaStream_t;
using Event = cudaEvent_t;
constexpr bool kChecksMemory = false;

inline void check_cuda(cudaError_t error, const char* call) {
    if (error == cudaSuccess) return;
    cudaGetLastError();  // forget it: this exception says it
    throw_error(error == cudaErrorMemoryAllocation ? StatusCode::OutOfMemory : StatusCode::NoDevice,
                call, ": ", cudaGetErrorName(error), ": ", cudaGetErrorString(error));
}

inline DeviceCount count_devices() {
    DeviceCount devices;
    const cudaError_t error = cudaGetDeviceCount(&devices.count);
    if (error == cudaSuccess && devices.count > 0) return devices;
    cudaGetLastError();
    devices.count = 0;
    devices.why = error == cudaSuccess ? "no CUDA device was found"
                                       : std::string("CUDA says: ") + cudaGetErrorString(error);
    devices.why += "; check with nvidia-smi that a GPU and its driver are there, or use cpu";
    return devices;
}
inline void select_device(int device) { check_cuda(cudaSetDevice(device), "select_device"); }

inline int selected_device() {
    int device = 0;
    check_cuda(cudaGetDevice(&device), "selected_device");
    return device;
}

inline DeviceProperties device_properties(int device) {
    cudaDeviceProp found{};
    check_cuda(cudaGetDeviceProperties(&found, device), "device_properties");
    DeviceProperties properties;
    properties.architecture = found.major * 10 + found.minor;
    properties.processors = found.multiProcessorCount;
    properties.memory_bytes = found.totalGlobalMem;
    properties.shared_bytes_per_block = found.sharedMemPerBlock;
    properties.most_shared_bytes_per_block = found.sharedMemPerBlockOptin;
    properties.shared_bytes_per_processor = found.sharedMemPerMultiprocessor;
    return properties;
}

inline DeviceProperties device_properties() { return device_properties(selected_device()); }
inline std::string device_model(int device) {
    cudaDeviceProp found{};
    check_cuda(cudaGetDeviceProperties(&found, device), "device_model");
    return found.name;
}
inline cudaMemPool_t memory_pool(const char* call) {
    int device = 0;
    check_cuda(cudaGetDevice(&device), call);
    cudaMemPool_t pool{};
    check_cuda(cudaDeviceGetDefaultMemPool(&pool, device), call);
    return pool;
}
inline MemoryState memory_state() {
    MemoryState state;
    check_cuda(cudaMemGetInfo(&state.free, &state.total), "memory_state");
    // What was freed and stays with the process is free for its allocations, too.
    const cudaMemPool_t pool = memory_pool("memory_state");
    uint64_t reserved = 0, used = 0;
    check_cuda(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &reserved),
               "memory_state");
    check_cuda(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used), "memory_state");
    state.free += reserved - (used < reserved ? used : reserved);
    return state;
}
inline void keep_freed_memory() {
    const cudaMemPool_t pool = memory_pool("keep_freed_memory");
    uint64_t all = UINT64_MAX;
    check_cuda(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &all),
               "keep_freed_memory");
}

inline void* device_allocate(size_t bytes, Stream stream) {
    void* memory = nullptr;
    const size_t wanted = bytes > 0 ? bytes : 1;
    cudaError_t error = cudaMallocAsync(&memory, wanted, stream);
    if (error == cudaErrorMemoryAllocation) {
        // What was freed may be in pieces that are too small, and counts when its stream has come
        // to that. Where others have the memory, this fails as well.
        cudaGetLastError();
        check_cuda(cudaDeviceSynchronize(), "device_allocate");
        check_cuda(cudaMemPoolTrimTo(memory_pool("device_allocate"), 0), "device_allocate");
        error = cudaMallocAsync(&memory, wanted, stream);
    }
    check_cuda(error, "device_allocate");
    return memory;
}
inline void device_free(void* memory, Stream stream) {
    check_cuda(cudaFreeAsync(memory, stream), "device_free");
}
inline void* pinned_allocate(size_t bytes) {
    void* memory = nullptr;
    check_cuda(cudaMallocHost(&memory, bytes > 0 ? bytes : 1), "pinned_allocate");
    return memory;
}
inline void pinned_free(void* memory) { check_cuda(cudaFreeHost(memory), "pinned_free"); }

inline void copy_to_device(void* device, const void* host, size_t bytes, Stream stream) {
    check_cuda(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream),
               "copy_to_device");
}
inline void copy_to_host(void* host, const void* device, size_t bytes, Stream stream) {
    check_cuda(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream),
               "copy_to_host");
}
inline void copy_on_device(void* to, const void* from, size_t bytes, Stream stream) {
    check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream),
               "copy_on_device");
}
inline void fill_bytes(void* device, unsigned char value, size_t bytes, Stream stream) {
    check_cuda(cudaMemsetAsync(device, value, bytes, stream), "fill_bytes");
}

inline Stream create_stream() {
    Stream stream{};
    check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "create_stream");
    return stream;
}
inline void destroy_stream(Stream stream) {
    check_cuda(cudaStreamDestroy(stream), "destroy_stream");
}
inline void synchronize(Stream stream) { check_cuda(cudaStreamSynchronize(stream), "synchronize"); }
inline void synchronize_device() { check_cuda(cudaDeviceSynchronize(), "synchronize_device"); }

inline Event create_event() {
    Event event{};
    check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "create_event");
    return event;
}
inline void destroy_event(Event event) { check_cuda(cudaEventDestroy(event), "destroy_event"); }
inline void record_event(Event event, Stream stream) {
    check_cuda(cudaEventRecord(event, stream), "record_event");
}
inline void wait_for_event(Stream stream, Event event) {
    check_cuda(cudaStreamWaitEvent(stream, event, 0), "wait_for_event");
}

inline void allow_shared_bytes(const void* kernel, size_t bytes) {
    static std::mutex mutex;
    static std::map<std::pair<int, const void*>, size_t> allowed;  // of each device
    const int device = selected_device();
    const std::lock_guard lock(mutex);
    size_t& most = allowed[{device, kernel}];
    if (bytes <= most) return;
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(bytes)),
               "allow_shared_memory");
    most = bytes;
}

// Before sm_90 kernels wait for nothing, not even on a device that could: one beyond those that the
// code was made for, which has that of the last of them. Where that is not known, none is early.
#if defined(NEARCELL_LAST_ARCHITECTURE)
constexpr bool kWaitsOnAllDevices = NEARCELL_LAST_ARCHITECTURE >= 90;
#else
constexpr bool kWaitsOnAllDevices = false;
#endif

template <class... Parameters>
void submit_kernel(const char* name, dim3 grid, dim3 block, size_t shared_bytes, Stream stream,
                   bool early, void (*kernel)(Parameters...), Parameters... arguments) {
    void* addresses[sizeof...(Parameters) + 1] = {&arguments..., nullptr};
    cudaLaunchAttribute overlap{};
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t launch{};
    launch.gridDim = grid;
    launch.blockDim = block;
    launch.dynamicSmemBytes = shared_bytes;
    launch.stream = stream;
    launch.attrs = &overlap;
    launch.numAttrs = early && kWaitsOnAllDevices ? 1 : 0;
    check_cuda(cudaLaunchKernelExC(&launch, reinterpret_cast<const void*>(kernel), addresses),
               name);
}

}  // namespace nearcell::simt
