// The kernel tables of this build and the choice among them. `select_kernels` is called once; the
// environment variable NEARCELL_ISA forces a table by name.
#pragma once

#include <string>
#include <vector>

#include <nearcell/kernels/kernel_table.h>

namespace nearcell {

// Tables built in that this CPU can run, plainest first.
std::vector<const KernelTable*> runnable_tables();

// The table named by `isa`, or the best one when isa is empty. Throws Unsupported, listing the
// runnable names, when it is unknown or this CPU cannot run it.
const KernelTable& select_kernels(const std::string& isa);

}  // namespace nearcell
