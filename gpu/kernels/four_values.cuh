// Four values of a row of float32 in one load, where rows begin at multiples of 16 bytes.
#pragma once

#include <nearcell/gpu/simt/simt.h>

namespace nearcell::gpu {

// From dimension j on; zero past the end.
SIMT_DEVICE float4 four_values(const float* row, size_t j, size_t dim) {
    if (j >= dim) return make_float4(0, 0, 0, 0);
    if (dim % 4 == 0) return simt::load16(reinterpret_cast<const float4*>(row + j));
    return make_float4(row[j], j + 1 < dim ? row[j + 1] : 0, j + 2 < dim ? row[j + 2] : 0,
                       j + 3 < dim ? row[j + 3] : 0);
}

}  // namespace nearcell::gpu
