#include "machine.h"

#include <unistd.h>

#include <fstream>
#include <sstream>

#include <nearcell/kernels/backend.h>

namespace nearcell::cli {

std::string cpu_model() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        const size_t colon = line.find(": ");
        if (line.starts_with("model name") && colon != std::string::npos) {
            return line.substr(colon + 2);
        }
    }
    return "unknown";
}

std::string chosen_instruction_set() {
    // Backend::describe() names it as one of its words.
    std::istringstream words(cpu_backend().describe());
    for (std::string word; words >> word;) {
        for (const std::string& name : cpu_instruction_sets()) {
            if (word == name) return name;
        }
    }
    return "unknown";
}

std::string compiler() {
#if defined(__clang__)
    return __VERSION__;  // begins with its name
#else
    return "g++ " __VERSION__;
#endif
}

CacheBytes cache_bytes() {
    const auto size = [](int name, size_t usual) {
        const long bytes = sysconf(name);
        return bytes > 0 ? static_cast<size_t>(bytes) : usual;
    };
#if defined(_SC_LEVEL1_DCACHE_SIZE)
    return {size(_SC_LEVEL1_DCACHE_SIZE, size_t{32} << 10),
            size(_SC_LEVEL2_CACHE_SIZE, size_t{512} << 10),
            size(_SC_LEVEL3_CACHE_SIZE, size_t{32} << 20)};
#else
    return {size_t{32} << 10, size_t{512} << 10, size_t{32} << 20};
#endif
}

}  // namespace nearcell::cli
