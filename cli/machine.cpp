#include "machine.h"

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

}  // namespace nearcell::cli
