// How host code starts a kernel on the emulation. Part of host.h: include that instead.
#pragma once

#include <cstddef>
#include <tuple>

#include <nearcell/gpu/simt/cuda_types.h>

namespace nearcell::simt {

struct LaunchRequest {
    const char* kernel;
    const void* function;
    dim3 grid, block;
    size_t shared_bytes;
    void (*body)(void* closure);  // what each thread runs
    void* closure;
    size_t closure_bytes;
    bool early;
};

// Runs all blocks; throws a FaultError for the first fault.
void run_grid(const LaunchRequest& request);

// A kernel with its arguments. Every thread gets its own copies, as on a GPU.
template <class... Parameters>
struct KernelCall {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> arguments;

    static void run(void* closure) {
        const auto* const call = static_cast<const KernelCall*>(closure);
        std::apply([call](const Parameters&... argument) { call->kernel(argument...); },
                   call->arguments);
    }
};

}  // namespace nearcell::simt
