// What the tests of CudaBackend share: backends that leave nothing to the CPU, and matrices.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include <nearcell/core/random.h>
#include <nearcell/gpu/cuda_backend.h>
#include <nearcell/gpu/simt/emulator.h>

#include "kernels/backend_case.h"

namespace nearcell::gpu {

using checks::Matrix;

// However few the multiplications, and in slices so small that there are several.
inline CudaBackendOptions on_device(size_t slice_bytes = 1 << 15) {
    CudaBackendOptions options;
    options.least_products = 0;
    options.least_products_a_value = 0;
    options.slice_bytes = slice_bytes;
    return options;
}

class CudaBackendTest : public testing::Test {
   protected:
    CudaBackendTest() { simt::reset(); }
    ~CudaBackendTest() override { simt::reset(); }
    // The device's bits are those of the CPU's fused multiply-adds.
    void SetUp() override {
        if (cpu_backend().describe().starts_with("cpu base "))
            GTEST_SKIP() << "the CPU's kernels in use have no fused multiply-adds";
    }
};

// A device at its start, whose blocks and streams go in one of some orders.
inline void start_in_order(uint64_t seed) {
    simt::reset();
    simt::config().seed = seed;
    simt::config().resident_blocks = static_cast<int>(seed);
    simt::config().preempt_one_in = seed % 2 == 0 ? 100 : 0;
    simt::config().deferred_streams = seed % 3 == 0;
    simt::config().architecture = seed == 4 ? 75 : 90;
}

// Values of which many are equal.
inline Matrix grid_matrix(size_t rows, size_t cols, Random& random, size_t gap = 0) {
    Matrix matrix(rows, cols, gap);
    for (size_t i = 0; i < rows; ++i) {
        for (size_t j = 0; j < cols; ++j)
            matrix.row(i)[j] = static_cast<float>(random.below(3));
    }
    return matrix;
}

}  // namespace nearcell::gpu
