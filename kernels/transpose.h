// Four-by-four transposition in the compiler's own vector type: what moves row-major values into
// the lanes of blocks and back. It needs one register width that every instruction set has, so it
// is no kernel.
#pragma once

#include <cstddef>
#include <cstring>

#include <nearcell/kernels/code_view.h>

namespace nearcell {

template <class T>
using Four __attribute__((vector_size(4 * sizeof(T)))) = T;

template <class T>
Four<T> load_four(const T* p) {
    Four<T> x;
    std::memcpy(&x, p, sizeof x);
    return x;
}

// out[i * stride + r] = rows[r][i].
template <class T>
void store_transposed(const Four<T> (&rows)[4], T* out, size_t stride = kBlock) {
    const Four<T> low02 = __builtin_shufflevector(rows[0], rows[2], 0, 4, 1, 5);
    const Four<T> high02 = __builtin_shufflevector(rows[0], rows[2], 2, 6, 3, 7);
    const Four<T> low13 = __builtin_shufflevector(rows[1], rows[3], 0, 4, 1, 5);
    const Four<T> high13 = __builtin_shufflevector(rows[1], rows[3], 2, 6, 3, 7);
    const Four<T> columns[4] = {__builtin_shufflevector(low02, low13, 0, 4, 1, 5),
                                __builtin_shufflevector(low02, low13, 2, 6, 3, 7),
                                __builtin_shufflevector(high02, high13, 0, 4, 1, 5),
                                __builtin_shufflevector(high02, high13, 2, 6, 3, 7)};
    for (size_t i = 0; i < 4; ++i)
        std::memcpy(out + i * stride, &columns[i], sizeof columns[i]);
}

}  // namespace nearcell
