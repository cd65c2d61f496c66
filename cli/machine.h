// Machine: what `info` and `bench` say about the CPU and the build.
#pragma once

#include <cstddef>
#include <string>

namespace nearcell::cli {

// As the system names it; "unknown" when it does not.
std::string cpu_model();
// The instruction set of the kernels in use.
std::string chosen_instruction_set();
// Name and version of the compiler that made this program.
std::string compiler();

// Of a core's data caches, the third level shared; usual sizes where the system does not say.
struct CacheBytes {
    size_t l1, l2, l3;
};
CacheBytes cache_bytes();

}  // namespace nearcell::cli
