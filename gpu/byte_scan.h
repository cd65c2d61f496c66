// Launches of scan_byte_tiles, whose kernels are compiled beside those of other searches: they take
// as long. For host code of the GPU backend.
#pragma once

#include <nearcell/gpu/simt/host.h>
#include <nearcell/gpu/kernels/byte_queries.cuh>

namespace nearcell::gpu {

// `tiles`: at most so many are in job.pairs. job.group, and of `shape` all but stream and start,
// are set here. Not for L1.
void launch_byte_scan(ByteScan job, Metric metric, size_t tiles,
                      const simt::DeviceProperties& device, simt::LaunchShape shape);

}  // namespace nearcell::gpu
