#include <nearcell/gpu/simt/emulator.h>

#include <nearcell/gpu/simt/runtime.h>

namespace nearcell::simt {
namespace {
Config configuration;
}

Counters counts;

Config& config() { return configuration; }
const Counters& counters() { return counts; }

void reset() {
    configuration = {};
    empty_streams();
    empty_device();
    forget_shared_limits();
    forget_sites();
    counts = {};
}

}  // namespace nearcell::simt
