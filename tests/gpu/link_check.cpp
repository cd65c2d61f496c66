// The library with its GPU part, as `cmake -DNEARCELL_CUDA=on` links it: does it start on a machine
// without a driver, and does it say what is missing? Prints the GPUs, or why there are none. Exit
// status 0: all is as it should be.
#include <cstdio>
#include <string>

#include <nearcell/core/error.h>
#include <nearcell/kernels/device.h>

int main() {
    const auto found = nearcell::devices();
    for (const nearcell::Device* device : found)
        std::printf("%s\n", device->describe().c_str());
    if (!found.empty()) return 0;
    try {
        nearcell::find_device("cuda:0");
    } catch (const nearcell::Error& error) {
        std::printf("%s\n", error.what());
        const std::string text = error.what();
        const bool says = text.find("nvidia-smi") != std::string::npos;
        return error.code() == nearcell::StatusCode::NoDevice && says ? 0 : 1;
    }
    return 1;
}
