// Roofline: the ceilings that the kernels of an instruction set are measured against, those of
// arithmetic (the peak operations of kernels/ops.def) and those of reading from a level of memory.
// All are measured, as the best of several tries; cost: about 0.2 s.
#pragma once

#include <map>
#include <string>

#include <nearcell/kernels/kernel_table.h>

#include "kernel_calls.h"

namespace nearcell::cli {

// How much is read when a level of memory is measured: half of what the caches hold.
struct LevelBytes {
    size_t l1, l2, memory;
};
LevelBytes level_bytes();

struct Roofline {
    // Operations a second by the name of the peak operation.
    std::map<std::string, double> arithmetic;
    // Bytes a second.
    double l1 = 0, l2 = 0, memory = 0;

    // The higher of both, ceiling by ceiling.
    void raise(const Roofline& other);
};

Roofline measure_roofline(const KernelTable& table, const StoredWords& words,
                          const LevelBytes& levels);

// The most operations a second that two ceilings, of arithmetic and of reading, allow a kernel, and
// which of them it is that binds.
struct Bound {
    double operations = 0;
    bool by_reading = false;
};
Bound bound_of(double arithmetic, double bytes_a_second, const KernelCall& call);

}  // namespace nearcell::cli
