// CUDA's built-in types, names and qualifiers for a compiler that does not know them. Part of the
// emulation's front door: include simt.h instead.
#pragma once

#include <cstddef>
#include <cstdint>

#define __global__ inline  // so that tests may include the kernels that sources do
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) int2 {
    int x, y;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(4) uchar4 {
    unsigned char x, y, z, w;
};
struct alignas(4) char4 {
    signed char x, y, z, w;
};

inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace nearcell::simt {

uint3 thread_index();
uint3 block_index();
dim3 block_dimensions();
dim3 grid_dimensions();

}  // namespace nearcell::simt

#define threadIdx (::nearcell::simt::thread_index())
#define blockIdx (::nearcell::simt::block_index())
#define blockDim (::nearcell::simt::block_dimensions())
#define gridDim (::nearcell::simt::grid_dimensions())
#define warpSize 32
