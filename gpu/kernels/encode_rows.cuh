// Rows on their way to codes (Backend::encode_rows): what the kernels of encode_product.cuh,
// encode_values.cuh and encode_bits.cuh are given.
#pragma once

#include <nearcell/gpu/kernels/tile_product.cuh>

namespace nearcell::gpu {

constexpr int kEncodeThreads = 128;

// The rows, or with labels what is left of each when its centroid is taken from it, with the bits
// that the host's subtraction has.
struct CodedRows {
    RowOperand x;
    const unsigned* labels;  // of each row; null: rows are coded as they are
    RowOperand centroids;

    SIMT_DEVICE float value(unsigned row, unsigned j) const {
        const float value = *x.at(row, j);
        return labels == nullptr ? value : __fsub_rn(value, *centroids.at(labels[row], j));
    }
};

// Where codes go, `words` of each row one behind the other.
struct CodeOutput {
    uint32_t* codes;
    unsigned words;
    unsigned* misfits;  // 0 before; 1 where a value does not fit the code, whose bits say nothing
};

}  // namespace nearcell::gpu
