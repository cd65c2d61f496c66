// Machine: what `info` says about the CPU.
#pragma once

#include <string>

namespace nearcell::cli {

// As the system names it; "unknown" when it does not.
std::string cpu_model();
// The instruction set of the kernels in use.
std::string chosen_instruction_set();

}  // namespace nearcell::cli
