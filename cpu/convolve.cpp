// Backend::convolve and pool: a map's output pixels, some rows of them at a time, as the pointers
// that the kernels take.
#include <algorithm>
#include <vector>

#include <nearcell/cpu/cpu_backend.h>

namespace nearcell {
namespace {

// Output pixels a kernel call: a multiple of every tile, so many that the weights of a tile are
// used often, so few that what they read stays in the second cache.
constexpr size_t kPixelsAtOnce = 252;

}  // namespace

void CpuBackend::convolve(const ConvJob& job) const {
    const DepthwiseView depthwise{job.conv};
    const float* pixels[kPixelsAtOnce];
    const float* added[kPixelsAtOnce];
    float* out[kPixelsAtOnce];
    const bool adds = job.added.origin != nullptr;
    const float* const first =
        job.in.origin - job.pad_top * job.in.row_stride - job.pad_left * job.in.channels;
    size_t count = 0;
    const auto flush = [&] {
        if (job.depthwise) {
            kernels_.depthwise_f32(&depthwise, pixels, adds ? added : nullptr, out, count);
        } else {
            kernels_.conv_f32(&job.conv, pixels, adds ? added : nullptr, out, count);
        }
        count = 0;
    };
    for (size_t y = 0; y < job.out.height; ++y) {
        const float* const row = first + y * job.stride * job.in.row_stride;
        for (size_t x = 0; x < job.out.width; ++x) {
            pixels[count] = row + x * job.stride * job.in.channels;
            out[count] = job.out.pixel(y, x);
            if (adds) added[count] = job.added.pixel(y, x);
            if (++count == kPixelsAtOnce) flush();
        }
    }
    flush();
}

void CpuBackend::pool(const PoolJob& job) const {
    PoolKernel* const kernel = job.mean ? kernels_.mean_pool_f32 : kernels_.max_pool_f32;
    std::vector<uint32_t> offsets;
    // What of a window that begins `pad` before pixel `at` lies within [0, size).
    struct Range {
        size_t first = 0, last = 0;
    };
    const auto range = [](size_t at, size_t pad, size_t window, size_t size) {
        return Range{at > pad ? at - pad : 0, std::min(at + window - pad, size)};
    };
    Range rows_before, columns_before;
    const float* pixels[kPixelsAtOnce];
    float* out[kPixelsAtOnce];
    size_t count = 0;
    const auto flush = [&] {
        const PoolView view{offsets.data(), offsets.size(), job.in.channels};
        if (count != 0) kernel(&view, pixels, out, count);
        count = 0;
    };
    for (size_t y = 0; y < job.out.height; ++y) {
        const Range rows = range(y * job.stride, job.pad_top, job.kernel_height, job.in.height);
        for (size_t x = 0; x < job.out.width; ++x) {
            const Range columns =
                range(x * job.stride, job.pad_left, job.kernel_width, job.in.width);
            const size_t height = rows.last - rows.first, width = columns.last - columns.first;
            if (height != rows_before.last - rows_before.first ||
                width != columns_before.last - columns_before.first) {
                flush();
                offsets.clear();
                for (size_t i = 0; i < height; ++i) {
                    for (size_t j = 0; j < width; ++j)
                        offsets.push_back(
                            static_cast<uint32_t>(i * job.in.row_stride + j * job.in.channels));
                }
                rows_before = rows;
                columns_before = columns;
            }
            pixels[count] = job.in.pixel(rows.first, columns.first);
            out[count] = job.out.pixel(y, x);
            if (++count == kPixelsAtOnce) flush();
        }
    }
    flush();
}

}  // namespace nearcell
