// Coverage: which parts of the readers an input reached, and how often, so that inputs that reach
// something new are kept and mutated further. g++ calls __sanitizer_cov_trace_pc, defined here, in
// every basic block of what is compiled with -fsanitize-coverage=trace-pc; the same program counts
// the same on every run. Not thread safe.
#pragma once

#include <cstddef>

namespace nearcell::fuzz {

void clear_coverage();
// Whether the calls since clear_coverage() reached a block, or reached it several times as often,
// that none before did. Remembers it.
bool reached_something_new();
size_t blocks_reached();  // by all inputs together

}  // namespace nearcell::fuzz
