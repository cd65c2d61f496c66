// The planner: decides how the loops of a scan go, from what is known before it starts. Nothing
// else in the code knows whether a search runs cell-major over many queries or splits cells among
// threads.
#pragma once

#include <cstddef>
#include <string>

#include <nearcell/kernels/backend.h>

namespace nearcell {

// `codes` is about how many codes all queries together will look at; `threads` is resolved (>= 1).
ScanPlan plan_scan(size_t queries, uint64_t codes, int threads);

// For SearchStats: "cell-major, 2 tasks of 5000 queries" or "cells split in 2 parts".
std::string describe_plan(const ScanPlan& plan, size_t queries);

}  // namespace nearcell
