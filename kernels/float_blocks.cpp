#include <algorithm>
#include <cstring>

#include <nearcell/kernels/backend.h>

namespace nearcell {
namespace {

// The compiler's own vector type: moving values about needs no more than it, so packing is no
// kernel.
using Four = float __attribute__((vector_size(16)));

Four load_four(const float* p) {
    Four x;
    std::memcpy(&x, p, sizeof x);
    return x;
}

// Four dimensions of four rows: out[j * kBlock + i] = rows[i][j] - offset[j].
void pack_four(const float* const* rows, size_t j, Four offset, float* out) {
    const Four a = load_four(rows[0] + j) - offset, b = load_four(rows[1] + j) - offset;
    const Four c = load_four(rows[2] + j) - offset, d = load_four(rows[3] + j) - offset;
    const Four ac_low = __builtin_shufflevector(a, c, 0, 4, 1, 5);
    const Four ac_high = __builtin_shufflevector(a, c, 2, 6, 3, 7);
    const Four bd_low = __builtin_shufflevector(b, d, 0, 4, 1, 5);
    const Four bd_high = __builtin_shufflevector(b, d, 2, 6, 3, 7);
    const Four columns[4] = {__builtin_shufflevector(ac_low, bd_low, 0, 4, 1, 5),
                             __builtin_shufflevector(ac_low, bd_low, 2, 6, 3, 7),
                             __builtin_shufflevector(ac_high, bd_high, 0, 4, 1, 5),
                             __builtin_shufflevector(ac_high, bd_high, 2, 6, 3, 7)};
    for (size_t i = 0; i < 4; ++i)
        std::memcpy(out + (j + i) * kBlock, &columns[i], sizeof(Four));
}

}  // namespace

void pack_block(MatrixView<const float> x, const float* offset, float* block) {
    const size_t d = x.cols;
    if (x.rows < kBlock) std::fill_n(block, d * kBlock, 0.0f);
    for (size_t i = 0; i < x.rows; i += 4) {
        const size_t count = std::min<size_t>(4, x.rows - i);
        const float* const rows[4] = {x.row(i), x.row(i + (count > 1 ? 1 : 0)),
                                      x.row(i + (count > 2 ? 2 : 0)),
                                      x.row(i + (count > 3 ? 3 : 0))};
        size_t j = 0;
        if (count == 4) {
            for (; j + 4 <= d; j += 4)
                pack_four(rows, j, offset == nullptr ? Four{} : load_four(offset + j), block + i);
        }
        for (; j < d; ++j) {
            for (size_t r = 0; r < count; ++r)
                block[j * kBlock + i + r] = rows[r][j] - (offset == nullptr ? 0.0f : offset[j]);
        }
    }
}

FloatBlocks::FloatBlocks(MatrixView<const float> x)
    : rows_(x.rows), dim_(x.cols), data_(blocks_for(x.rows) * x.cols * kBlock) {
    for (size_t first = 0; first < rows_; first += kBlock) {
        pack_block(x.slice(first, std::min(kBlock, rows_ - first)), nullptr,
                   data_.mutable_data() + first * dim_);
    }
}

void FloatBlocks::copy_row(size_t row, float* out) const {
    const float* lane = block(row / kBlock) + row % kBlock;
    for (size_t j = 0; j < dim_; ++j)
        out[j] = lane[j * kBlock];
}

}  // namespace nearcell
