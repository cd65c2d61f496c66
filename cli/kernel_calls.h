// KernelCall: an operation of kernels/ops.def that can be run over and over on stored vectors, with
// what one run does. A function type that is new in ops.def needs its own `run` in
// kernel_calls.cpp.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernel_inputs.h"
#include "stored_words.h"

namespace nearcell::cli {

struct KernelCall {
    std::string op;
    std::string peak;  // the operation of ops.def that is its ceiling
    // Of one (vector, query) pair, or of one vector where there is no query. Stored vectors are
    // read once for all queries of a call, so a pair reads its share of one.
    double operations = 0, bytes = 0;
    // Over the next slice of the stored vectors, round and round; returns how many pairs that was.
    std::function<double()> run;
};

// The names of all operations that are measured.
std::vector<std::string> kernel_call_names();

// How much of the words an operation goes through, and how much of that in one run: a cache's
// worth, so that a run is short whatever the memory.
struct StoredBytes {
    size_t all, slice;
};

// The call of one of them; refers to all that it is given.
KernelCall kernel_call(const std::string& op, const KernelTable& table, KernelInputs& inputs,
                       StoredWords& words, StoredBytes bytes);

}  // namespace nearcell::cli
