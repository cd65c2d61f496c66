// The bounds by which a scan on tensor cores leaves vectors out. As in exact_bound.cuh nothing is a
// guess: every vector that scan_chunks would offer passes, for any codes, rounding and order of
// summation. But here everything about a vector is measured while it is decoded, and the bounds are
// of the float32 keys of scan_chunks.cuh, in float32.
//
// A decoded vector x (with its centroid, as scan_chunks adds it) and a query q are moved by the
// cell's centroid c, or by 0: r = x - c, and y = q - c for L2, y = q for similarities; then they
// are rounded to bfloat16, rb and yb. Measured in float32 are S = |rb|^2 and E, the sum of squares
// of what the rounding changed. Of r more is off: a code of a residual is taken as r itself, though
// x is its sum with c rounded, by 2^-24 |x|; else x - c is rounded, by 2^-24 |r|. So
//
//   |r - rb| <= e = sqrt(E) (1 + s) + (sqrt(S) + |c|) 2^-22 + 2^-60
//
// with s = dim 2^-24 + 2^-19 for sums of `dim` squares, |c| only for residuals, and 2^-60 for what
// underflows. The same of y is ey. A tensor core gives p = rb . yb within g |rb||yb|, g = dim 2^-22
// (exact_bound.cuh), and what underflows. h = dim 2^-21 + 2^-18 is more than g, the errors of S,
// and some 2^-20 for the roundings of both sides below; u = (dim + 4) 2^-23 more than the relative
// error of a key of L2, and of one of a similarity relative to |q||x|. A limit l grows to L = l +
// 2^-22 |l| for roundings of the key after its sum.
//
// L2. A key <= l has |r - y| <= T = sqrt(L (1 + u)). With R = T + ey, |rb - yb| <= R + e:
//
//   -2 p + S (1 - h) - e^2  <=  R^2 - Sy (1 - h)  +  2 R e
//
// L2 of Bits: key = sum + B, and with `refined` key - m F is compared, F the code's error factor, m
// the pair's: |r - y|^2 <= (1 + u) (L + m F - B). By 2 a b <= a^2 / 256 + 256 b^2, k = (1 + 1/256)
// (1 + u), and (e + ey)^2 <= 2 e^2 + 2 ey^2:
//
//   -2 p + S (1 - h) + k B - 514 e^2  <=  k L + 514 ey^2 - Sy (1 - h)  +  k m F
//
// Similarities: key = -q.x within u |q||x|, x = r + c, and |q.r - rb.yb| <= e |q| + |rb| ey. With w
// the largest ey / |q| of the tile and t >= |q|:
//
//   -p  <=  L + q.c + 2 u |q||c|  +  t (e (1 + h) + sqrt(S) (w + h) + m F)
//
// where refined Bits have m = margin / 2 and t >= the length that is given for the query.
//
// All three are factor * p + terms.x <= limit.x + limit.y * terms.y. The test is `not >`, so that
// what became NaN passes. Vectors, queries and centroids longer than 2^60, whose products could
// overflow, always pass; vectors shorter than about 2^-52 are too short for the constants above to
// leave many out.
#pragma once

#include <nearcell/gpu/kernels/scan_chunks.cuh>
#include <nearcell/gpu/kernels/warp_sums.cuh>

namespace nearcell::gpu {

constexpr float kMostSquare = 0x1p120f;     // of lengths
constexpr float kLeastError = 0x1p-60f;     // of a rounded vector
constexpr float kLostProducts = 0x1p-104f;  // of what underflows in a key or a product
constexpr float kShare = 0x1p-8f;           // of the bound for Bits codes
constexpr float kRoundUp = 1 + 0x1p-19f;    // after some operations
constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr float kAlways = std::numeric_limits<float>::infinity();
constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();  // of vectors that always pass

struct BoundConstants {
    float sum;   // s
    float form;  // h
    float key;   // u
};
SIMT_DEVICE BoundConstants bound_constants(unsigned dim) {
    const auto d = static_cast<float>(dim + 32);  // with the zeros that fill a product
    return {d * 0x1p-24f + 0x1p-19f, d * 0x1p-21f + 0x1p-18f, d * 0x1p-23f};
}

// Of a rounded query or vector: S and E; of a pair also q.c, of similarities, and |c|^2.
struct RoundedSquares {
    float square = 0, error = 0;
};
struct PairSums {
    RoundedSquares query;
    float product = 0, centre = 0;
};

SIMT_DEVICE bool is_short(float square) { return square <= kMostSquare; }

// e, or ey. `centre`: |c| for a residual, else 0.
SIMT_DEVICE float error_of(const BoundConstants& constants, const RoundedSquares& sums,
                           float centre) {
    return __fsqrt_rn(sums.error) * (1 + constants.sum) +
           (__fsqrt_rn(sums.square) + centre) * 0x1p-22f + kLeastError;
}

// At least |q|, for similarities.
SIMT_DEVICE float length_of(const BoundConstants& constants, const RoundedSquares& sums) {
    return (__fsqrt_rn(sums.square) + __fsqrt_rn(sums.error)) * (1 + constants.sum);
}

// At least ey / t.
SIMT_DEVICE float width_of(const BoundConstants& constants, const RoundedSquares& sums) {
    const float length = max(length_of(constants, sums), 0x1p-48f);
    return error_of(constants, sums, 0) / length * kRoundUp;
}

// The factors of a Bits code; 0 of others.
struct VectorFactors {
    float bias, error;
};

// What is compared of a vector, from S and e. S may be kUnknown. width: w of the tile.
template <CodeKind kKind, KeySum kSum>
SIMT_DEVICE float2 vector_terms(const BoundConstants& constants, float sum, float error,
                                const VectorFactors& factors, float margin, float width) {
    if (!(sum >= 0)) return make_float2(kNever, 0);
    if constexpr (kSum == KeySum::Dot) {
        const float length = __fsqrt_rn(sum) * (1 + constants.sum);
        return make_float2(0, (error * (1 + constants.form) + length * (width + constants.form) +
                               0.5f * margin * factors.error) *
                                  kRoundUp);
    }
    const float square = sum * (1 - constants.form);
    if constexpr (kKind == CodeKind::Bits) {
        const float bias =
            (1 + kShare) * (1 + constants.key) * factors.bias - fabs(factors.bias) * 0x1p-19f;
        const float rounded = 2 * (1 + 1 / kShare) * error * error * kRoundUp;
        return make_float2(square + bias - rounded, factors.error);
    }
    return make_float2(square - error * error * kRoundUp, error);
}

// A limit on keys, with what rounding may take from them.
SIMT_DEVICE float loosened(float limit) {
    return limit > kNever ? limit + fabs(limit) * 0x1p-22f + 0x1p-120f : kNever;
}

// a and t of a pair. `reach`: of refined Bits what the error factor is times: margin times the
// distance of query and centroid for L2, the query's length for similarities; else 0.
template <CodeKind kKind, KeySum kSum>
SIMT_DEVICE float2 pair_limit(const BoundConstants& constants, const PairSums& sums, float limit,
                              float reach) {
    const RoundedSquares& query = sums.query;
    const bool bounded = is_short(query.square + query.error) && is_short(sums.centre);
    if (!bounded) return make_float2(kAlways, 0);
    const float most = loosened(limit);
    if (!(most > kNever)) return make_float2(kNever, 0);
    if constexpr (kSum == KeySum::Dot) {
        const float length = length_of(constants, query);
        const float centre = __fsqrt_rn(sums.centre) * (1 + constants.sum);
        const float off = 2 * constants.key * length * centre;
        const float a = most + sums.product + off + (fabs(most) + fabs(sums.product)) * 0x1p-19f;
        return make_float2(a + kLostProducts, max(max(length, reach), 0x1p-48f) * kRoundUp);
    }
    const float error = error_of(constants, query, 0);
    const float square = query.square * (1 - constants.form);
    if constexpr (kKind == CodeKind::Bits) {
        const float share = (1 + kShare) * (1 + constants.key);
        const float rounded = 2 * (1 + 1 / kShare) * error * error * kRoundUp;
        const float a = share * most + fabs(most) * 0x1p-18f + rounded - square;
        return make_float2(a + kLostProducts, share * reach * kRoundUp);
    }
    if (most < 0) return make_float2(kNever, 0);
    const float farthest = (__fsqrt_rn(most * (1 + constants.key)) + error) * kRoundUp;
    return make_float2(farthest * farthest * kRoundUp - square + kLostProducts,
                       2 * farthest * kRoundUp);
}

// Whether a vector may have a key under a pair's limit.
template <KeySum kSum>
SIMT_DEVICE bool passes(float product, const float2& terms, const float2& limit) {
    const float left = __fmaf_rn(kSum == KeySum::Dot ? -1.0f : -2.0f, product, terms.x);
    return !(left > __fmaf_rn(limit.y, terms.y, limit.x));
}

}  // namespace nearcell::gpu
