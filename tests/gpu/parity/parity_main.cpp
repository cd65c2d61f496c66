// The parity tests as a program: cuda_parity [--size tiny|full] [GoogleTest's options]. Prints the
// device; where there is none, says why, and ends with status 77, which means "skipped".
#include <cstdio>
#include <string>

#include <nearcell/kernels/device.h>
#include "parity_case.h"

#ifndef NEARCELL_CUDA  // the library then has no GPU part, and the emulated one is this program's
#include <nearcell/gpu/cuda_device.h>
#endif

namespace nearcell::parity {
namespace {

constexpr int kSkipped = 77;
const Size* chosen = &kSizes[0];

bool choose_size(const std::string& name) {
    for (const Size& one : kSizes) {
        if (one.name == name) {
            chosen = &one;
            return true;
        }
    }
    std::printf("--size %s: tiny and full are known\n", name.c_str());
    return false;
}

int run(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    for (int i = 1; i < argc; ++i) {
        if (std::string(argv[i]) != "--size" || i + 1 == argc) {
            std::printf("unknown argument %s: --size tiny|full and GoogleTest's are known\n",
                        argv[i]);
            return 2;
        }
        if (!choose_size(argv[++i])) return 2;
    }
#ifndef NEARCELL_CUDA
    set_device_source(&gpu::cuda_devices());
#endif
    const auto found = devices();
    if (found.empty()) {
        std::printf("no GPU: %s\n", built_in_devices().why().c_str());
        return kSkipped;
    }
    std::printf("%s, size %s\n", found.front()->describe().c_str(), chosen->name.data());
    return RUN_ALL_TESTS();
}

}  // namespace

const Size& size() { return *chosen; }

}  // namespace nearcell::parity

int main(int argc, char** argv) { return nearcell::parity::run(argc, argv); }
