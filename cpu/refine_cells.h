// The scan by lower bounds (Refinement), for both kinds of sinks.
#pragma once

#include <functional>

#include <nearcell/cpu/scan_sinks.h>
#include <nearcell/kernels/backend.h>
#include <nearcell/kernels/kernel_table.h>

namespace nearcell {

// Runs the tasks of a job that has `refine`; sink(split) is where the hits of that part of the
// cells go: a candidate's key is the maximum that Refinement speaks of, and `lower` the exact key.
ScanCounts refine_tasks(const ScanJob& job, const KernelTable& kernels,
                        const std::function<TopKSink(size_t)>& sink);
ScanCounts refine_tasks(const ScanJob& job, const KernelTable& kernels,
                        const std::function<RangeSink(size_t)>& sink);

}  // namespace nearcell
