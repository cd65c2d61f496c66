// What host code of the GPU backend asks a device for: memory, copies, streams, events, launches.
// One API with two bodies: the CUDA runtime where NEARCELL_CUDA is defined or nvcc compiles, else
// the emulation.
//
// Failures throw: Error(OutOfMemory) when the device is full, Error(NoDevice) for whatever else
// CUDA reports; the emulation throws a FaultError (emulator.h) for what it finds wrong. Calls that
// take a stream return at once; what they were given must stay until the stream gets there. Thread
// safety: as CUDA's: any thread may call, but only one at a time for a stream or an event. (On
// the emulation all calls take turns.)
#pragma once

#include <cstddef>
#include <string>

namespace nearcell::simt {

struct DeviceProperties {
    int architecture = 0;  // 75, 80, 86, 89, 90, 100, 120
    int processors = 0;
    size_t memory_bytes = 0;
    size_t shared_bytes_per_block = 0;       // without allow_shared_memory
    size_t most_shared_bytes_per_block = 0;  // with it
    size_t shared_bytes_per_processor = 0;
};

// How many devices there are; where there are none, why.
struct DeviceCount {
    int count = 0;
    std::string why;
};

struct MemoryState {
    size_t total = 0, free = 0;  // bytes
};

}  // namespace nearcell::simt

#if defined(__CUDACC__) || defined(NEARCELL_CUDA)
#include <nearcell/gpu/simt/host_cuda.h>
#else
#include <nearcell/gpu/simt/host_emulated.h>
#endif

namespace nearcell::simt {

// How a kernel is started; the name is for messages.
struct LaunchShape {
    const char* kernel;
    dim3 grid, block;
    size_t shared_bytes = 0;
    Stream stream = {};
    // It may start before the kernel before it has ended: early_start.h. From sm_90 on.
    bool early = false;
};

DeviceCount count_devices();
// The one that this thread's calls are for, from 0.
void select_device(int device);
int selected_device();
DeviceProperties device_properties();  // of the one selected
// Of any, which is not started for it.
DeviceProperties device_properties(int device);
std::string device_model(int device);
MemoryState memory_state();
// Lets freed memory stay with the process, so that the next allocations are quick.
void keep_freed_memory();

// 256-byte aligned, unwritten.
void* device_allocate(size_t bytes, Stream stream);
void device_free(void* memory, Stream stream);
// Host memory that copies reach without a detour, and kernels by its address.
void* pinned_allocate(size_t bytes);
void pinned_free(void* memory);

void copy_to_device(void* device, const void* host, size_t bytes, Stream stream);
void copy_to_host(void* host, const void* device, size_t bytes, Stream stream);
void copy_on_device(void* to, const void* from, size_t bytes, Stream stream);
void fill_bytes(void* device, unsigned char value, size_t bytes, Stream stream);

// Stream{} is the default stream.
Stream create_stream();
void destroy_stream(Stream stream);
void synchronize(Stream stream);  // until its work is done
void synchronize_device();        // until all work is done

Event create_event();
void destroy_event(Event event);
void record_event(Event event, Stream stream);
void wait_for_event(Stream stream, Event event);  // work given to the stream later runs after it

// Lets a kernel have more than 48 KiB of shared memory. Never less than before: another thread may
// be about to launch it with what it asked for.
template <class... Parameters>
void allow_shared_memory(void (*kernel)(Parameters...), size_t bytes) {
    allow_shared_bytes(reinterpret_cast<const void*>(kernel), bytes);
}

// launch({"scan", grid, block, shared, stream}, scan_kernel<4>, vectors, count);
template <class... Parameters, class... Arguments>
void launch(const LaunchShape& shape, void (*kernel)(Parameters...),
            const Arguments&... arguments) {
    submit_kernel(shape.kernel, shape.grid, shape.block, shape.shared_bytes, shape.stream,
                  shape.early, kernel, static_cast<Parameters>(arguments)...);
}

}  // namespace nearcell::simt
