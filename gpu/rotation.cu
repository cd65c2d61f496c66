#include <nearcell/gpu/rotation.h>

#include <algorithm>

#include <nearcell/core/error.h>
#include <nearcell/gpu/kernels/rotate_rows.cuh>

namespace nearcell::gpu {
namespace {

constexpr size_t kEveryBlocks = size_t{48} << 10;  // bytes of shared memory
constexpr size_t kMostBlocks = 4096;               // enough for every processor to have some

}  // namespace

size_t longest_rotation(const simt::DeviceProperties& device) {
    return device.most_shared_bytes_per_block / sizeof(float);
}

void launch_rotation(const RotateJob& job, simt::Stream stream) {
    if (job.count == 0) return;
    const size_t row_bytes = job.dim * sizeof(float);
    if (row_bytes > kEveryBlocks) {
        const size_t longest = longest_rotation(simt::device_properties());
        check(job.dim <= longest, StatusCode::Unsupported, "rotations on this device take at most ",
              longest, " values a row, and these have ", job.dim, ": use the CPU");
        simt::allow_shared_memory(rotate_rows, row_bytes);
    }
    const size_t warps = std::clamp<size_t>(kEveryBlocks / row_bytes, 1, kRotateWarps);
    const size_t blocks = std::min((job.count + warps - 1) / warps, kMostBlocks);
    simt::launch({"rotate_rows", static_cast<unsigned>(blocks), static_cast<unsigned>(32 * warps),
                  warps * row_bytes, stream},
                 rotate_rows, job);
}

}  // namespace nearcell::gpu
