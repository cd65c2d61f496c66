// host.h on the emulation.
#pragma once

#include <functional>
#include <memory>
#include <tuple>

#include <nearcell/gpu/simt/launch.h>

namespace nearcell::simt {

struct StreamQueue;
struct EventState;
using Stream = StreamQueue*;
using Event = EventState*;
constexpr bool kChecksMemory = true;  // each allocation has bounds, and is unwritten at first

// Runs now, or, with deferred streams, when somebody waits.
void submit(Stream stream, std::function<void()> work);
void allow_shared_bytes(const void* kernel, size_t bytes);

template <class... Parameters>
void submit_kernel(const char* name, dim3 grid, dim3 block, size_t shared_bytes, Stream stream,
                   bool early, void (*kernel)(Parameters...), Parameters... arguments) {
    using Call = KernelCall<Parameters...>;
    const auto call = std::make_shared<Call>(Call{kernel, std::tuple<Parameters...>(arguments...)});
    submit(stream, [=] {
        run_grid({name, reinterpret_cast<const void*>(kernel), grid, block, shared_bytes,
                  &Call::run, call.get(), sizeof(Call), early});
    });
}

}  // namespace nearcell::simt
