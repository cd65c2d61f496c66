#include <nearcell/kernels/backend.h>

namespace nearcell {

FloatBlocks::FloatBlocks(MatrixView<const float> x)
    : rows_(x.rows), dim_(x.cols), data_(blocks_for(x.rows) * x.cols * kBlock) {
    float* out = data_.mutable_data();
    for (size_t i = 0; i < rows_; ++i) {
        const float* row = x.row(i);
        float* lane = out + (i / kBlock) * dim_ * kBlock + i % kBlock;
        for (size_t j = 0; j < dim_; ++j)
            lane[j * kBlock] = row[j];
    }
}

void FloatBlocks::copy_row(size_t row, float* out) const {
    const float* lane = block(row / kBlock) + row % kBlock;
    for (size_t j = 0; j < dim_; ++j)
        out[j] = lane[j * kBlock];
}

}  // namespace nearcell
