// Stored vectors once more, as integer tensor cores multiply them: moved by their cell's centroid
// and rounded to int8, with a scale each. A filter reads these (scan_byte_tiles.cuh); what passes
// is scored by the codes. `dim` bytes and 16 a vector, whatever its code (make_byte_tiles.cuh).
//
// The values of a block of sixteen vectors and 32 dimensions are the A operand of one product
// (simt/matrix.h), 16 bytes a lane: lane 4 g + t has dimensions 8 t to 8 t + 7 of vectors g and
// g + 8. That is another order of k than the operand's own, and the queries have the same.
#pragma once

#include <nearcell/gpu/kernels/product_bound.cuh>

namespace nearcell::gpu {

constexpr float kMostByte = 127;
constexpr float kLeastValue = 0x1p-100f;  // vectors of smaller ones are rounded to zeros,
constexpr float kLongest = 0x1p60f;       // and those of larger ones, whose bounds are not known

// The centroid that a tile's vectors are moved by; null: they are as their codes say.
SIMT_DEVICE const float* tile_centre(const StoredCodes& stored, size_t cell) {
    const bool moved = stored.centroids != nullptr && !stored.residual;
    return moved ? stored.centroids + cell * stored.code.dim : nullptr;
}

// value * inverse, at most 127, rounded to an integer: as a float, and in the low byte of `bits`.
// Where this number was added, floats are integers.
constexpr float kIntegers = 0x1.8p23f;
struct RoundedByte {
    float value;
    unsigned bits;
};
SIMT_DEVICE RoundedByte nearest_byte(float value, float inverse) {
    const float sum = __fmaf_rn(value, inverse, kIntegers);
    return {__fadd_rn(sum, -kIntegers), __float_as_uint(sum)};
}

// How a vector is rounded: inverse is 0 where all is rounded to zeros.
struct ByteScale {
    float scale, inverse;
};
SIMT_DEVICE ByteScale byte_scale(float most) {
    if (!(most >= kLeastValue && most < kLongest)) return {0, 0};
    return {most / kMostByte, kMostByte / most};
}

// One value, of which `sums` gets what the bounds want to know. In the low byte of the result.
SIMT_DEVICE unsigned round_byte(float value, const ByteScale& scale, RoundedSquares& sums) {
    const RoundedByte byte = nearest_byte(value, scale.inverse);
    const float rounded = byte.value * scale.scale;
    const float error = __fmaf_rn(-byte.value, scale.scale, value);
    sums.square = __fmaf_rn(rounded, rounded, sums.square);
    sums.error = __fmaf_rn(error, error, sums.error);
    return byte.bits;
}

}  // namespace nearcell::gpu
