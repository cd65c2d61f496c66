#include <nearcell/gpu/byte_scan.h>

#include <algorithm>

#include <nearcell/gpu/kernels/scan_byte_tiles.cuh>

namespace nearcell::gpu {
namespace {

constexpr size_t kSharedLeft = 1024;       // of shared memory, for the system
constexpr size_t kQueryBytes = 52 * 1024;  // of it, for queries, so that blocks fit side by side
constexpr size_t kMostSplit = 8;           // blocks that share a tile

}  // namespace

void launch_byte_scan(ByteScan job, Metric metric, size_t tiles,
                      const simt::DeviceProperties& device, simt::LaunchShape shape) {
    const unsigned steps = job.stored.tiles.steps, kept = kept_steps(steps);
    const bool made = job.stored.tiles.values == nullptr;
    const size_t each = byte_stride(steps) * sizeof(unsigned);
    const size_t beside = byte_scan_bytes(kept, made) + kSharedLeft;
    const size_t most_bytes = device.most_shared_bytes_per_block - beside;
    const size_t columns = std::min(most_bytes, kQueryBytes) / each / 16 * 16;
    const size_t fitting = std::clamp<size_t>(columns, 8, kByteTile);
    job.group = static_cast<unsigned>(fitting);
    const size_t bytes = fitting * each;
    const ByteScanKernel kernel = scan_byte_tiles_kernel(steps, made, metric);
    if (bytes > device.shared_bytes_per_block - beside) simt::allow_shared_memory(kernel, bytes);
    // Where there are few tiles, blocks share one.
    const size_t most =
        static_cast<size_t>(device.processors) * byte_blocks(kept, made, device.architecture);
    const size_t split = std::clamp<size_t>(most / std::max<size_t>(tiles, 1), 1, kMostSplit);
    shape.kernel = "scan_byte_tiles";
    shape.grid = dim3(static_cast<unsigned>(std::clamp<size_t>(tiles, 1, most)),
                      static_cast<unsigned>(split));
    shape.block = kByteThreads;
    shape.shared_bytes = bytes;
    simt::launch(shape, kernel, job);
}

}  // namespace nearcell::gpu
