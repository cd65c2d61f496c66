// The front door of a kernel: the only header that a kernel source includes for CUDA's sake.
// Compiled by nvcc, it is CUDA. Compiled by any other compiler, it is the emulation that runs
// kernels on a CPU in tests (docs/hacking.md, "A CUDA kernel"). Beside CUDA's own names kernels
// use:
//
//   SIMT_SHARED(name, float[32][33]);    a static shared variable
//   SIMT_DYNAMIC_SHARED(name, float);    float* name: the launch's dynamic shared memory, 16-byte
//                                        aligned
//   SIMT_UNROLL, SIMT_NO_UNROLL          before a loop
//   simt::load16, store16, ...           memory_access.h
//   simt::cp_async, ...                  async_copy.h
//   simt::mma_m16n8k16, ldmatrix, ...    matrix.h
//   simt::wait_for_previous              early_start.h
//
// with namespace simt = nearcell::simt. Everything that exists in both is listed in cuda_*.h.
#pragma once

#if defined(__CUDACC__)

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace nearcell::simt {
template <class T>
struct Identity {
    using Type = T;
};
}  // namespace nearcell::simt

#define SIMT_SHARED(name, ...) \
    __shared__ typename ::nearcell::simt::Identity<__VA_ARGS__>::Type name
#define SIMT_DYNAMIC_SHARED(name, ...)                                   \
    extern __shared__ __align__(16) unsigned char simt_dynamic_shared[]; \
    __VA_ARGS__* const name = reinterpret_cast<__VA_ARGS__*>(simt_dynamic_shared)
#define SIMT_UNROLL _Pragma("unroll")
#define SIMT_NO_UNROLL _Pragma("unroll 1")
#define SIMT_DEVICE __device__ __forceinline__

#else

#include <nearcell/gpu/simt/cuda_half.h>
#include <nearcell/gpu/simt/cuda_math.h>
#include <nearcell/gpu/simt/cuda_memory.h>
#include <nearcell/gpu/simt/cuda_sync.h>
#include <nearcell/gpu/simt/cuda_types.h>
#include <nearcell/gpu/simt/cuda_warp.h>

#define SIMT_UNROLL _Pragma("GCC unroll 32")
#define SIMT_NO_UNROLL _Pragma("GCC unroll 1")
#define SIMT_DEVICE inline __attribute__((always_inline))

#endif

#include <nearcell/gpu/simt/async_copy.h>
#include <nearcell/gpu/simt/early_start.h>
#include <nearcell/gpu/simt/matrix.h>
#include <nearcell/gpu/simt/memory_access.h>
