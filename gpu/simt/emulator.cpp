#include <nearcell/gpu/simt/emulator.h>

#include <nearcell/gpu/simt/runtime.h>

namespace nearcell::simt {
namespace {
Config configuration;
}

Counters counts;

std::recursive_mutex& device_mutex() {
    static std::recursive_mutex mutex;
    return mutex;
}

Config& config() { return configuration; }
const Counters& counters() { return counts; }

void reset() {
    const DeviceLock lock(device_mutex());
    configuration = {};
    empty_streams();
    empty_device();
    forget_shared_limits();
    forget_sites();
    counts = {};
}

}  // namespace nearcell::simt
