#include <algorithm>

#include <nearcell/kernels/backend.h>
#include <nearcell/kernels/transpose.h>

namespace nearcell {

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
            for (; j + 4 <= d; j += 4) {
                const Four<float> less = offset == nullptr ? Four<float>{} : load_four(offset + j);
                const Four<float> four[4] = {
                    load_four(rows[0] + j) - less, load_four(rows[1] + j) - less,
                    load_four(rows[2] + j) - less, load_four(rows[3] + j) - less};
                store_transposed<float>(four, block + j * kBlock + i);
            }
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

}  // namespace nearcell
