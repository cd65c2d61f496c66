// The bounds by which exact search leaves rows out: from products of vectors that were rounded to
// 16 bits it tells which rows cannot be among the k nearest. Nothing in it is a guess: for every
// row, query, rounding and order of summation, a row that the exact search would return passes.
//
// A row x and a query q are moved and scaled (by a power of two) before they are rounded:
//
//   u = s (x' - c)           c near the mean of the base; x' = x, for Cosine x / |x|
//   y = s (q - c)            L2
//   y = r q'                 InnerProduct, Cosine: r makes 1/2 <= |y| < 1, q' = q or q / |q|
//
// and become ub and yb, with ex >= |u - ub| and ey >= |y - yb|. A tensor core computes
// p = ub . yb (1 + error): products of two 8-bit or 11-bit significands are exact in float, and
// sums are taken a block of m products at a time, whose m + 1 terms are cut to 24 bits of the
// largest one, and whose sum is cut again. A block so errs by less than (m + 2) 2^-23 |ub||yb|, and
// all dim / m blocks by less than g |ub||yb|, g = dim 2^-22, when m >= 4. (Fasi et al., "Numerical
// behavior of NVIDIA tensor cores", 2021, found blocks of 4 or more, cut so or less. Adding in
// order in float, as the emulation does, errs by dim 2^-24.) A sum that begins with n, which is one
// more term of every block, errs by less than g (|n| + |ub||yb|), yb times its factor.
//
// L2. Let T >= s times the distance of the k-th best of some rows. A row as near has |u - y| <= T,
// so |ub - yb| <= T + ex + ey = t/2 + ex, where t = 2 (T + ey). Squared, with
// 2 g |ub||yb| <= g (|ub|^2 + |yb|^2) and g |n| <= g |ub|^2 + h ex^2:
//
//   n - 2 p <= a + t ex     n = |ub|^2 (1 - h) - ex^2 (1 + h)     a = (T + ey)^2 - |yb|^2 (1 - h)
//
// where h is 2 g and, for what rounding up forgets, 2^-22. The sum is that of n and ub . (-2 yb):
// doubling is exact.
//
// InnerProduct, Cosine. Let K >= the k-th smallest key, key = -x'.q'. A row as near has
// -u.y <= s r (K + c.q') = a, and |u.y - ub.yb| <= ex |y| + |ub| ey. With t >= |y| and ey <= w t, w
// the rounding's relative error (2^-8 or 2^-11), so that |yb| <= (1 + w) t:
//
//   -p + 0 <= a + t e        e = ex + |ub| (w + g (1 + w))
//
// Both are one form: terms.x + ub . (factor yb) <= limit.x + limit.y * terms.y, of which the left
// side comes from the tensor cores. Keys are rounded to float, and rows with equal keys are ordered
// by their numbers, so K and T are those of the largest real number that could still be rounded to
// the k-th key.
#pragma once

#include <limits>

#include <nearcell/core/metric.h>
#include <nearcell/gpu/simt/simt.h>

namespace nearcell::gpu {

enum class Rounding { Bfloat16, Half };

// Products whose terms underflow may lose this much, in units in which rows are about 1.
constexpr double kTiny = 0x1p-100;

// How the vectors of a base and their queries are moved and scaled.
struct Space {
    Metric metric;
    Rounding rounding;
    size_t dim, padded;    // components; with the zeros that fill the last product
    const float* centre;   // c
    double centre_length;  // at least |c|
    double row_length;     // at least |x'| of every row
    double scale;          // s
};

// What is known of a query. bounded: false when it is so far away that its products could overflow;
// then every row passes.
struct QueryBound {
    double error;   // L2: ey
    double square;  // L2: at most |yb|^2 (1 - h)
    double scale;   // s r; L2: s
    double offset;  // s r c.q', and what this and keys may be off
    double reach;   // t, but for L2
    bool bounded;
};

constexpr bool is_similar(Metric metric) {
    return metric == Metric::InnerProduct || metric == Metric::Cosine;
}

// The smallest float that is not below; infinity when there is none.
SIMT_DEVICE float round_up(double value) {
    const float nearest = static_cast<float>(value);
    if (!(static_cast<double>(nearest) < value)) return nearest;
    const unsigned bits = __float_as_uint(nearest);
    if ((bits << 1) == 0) return __uint_as_float(1);
    return __uint_as_float((bits >> 31) == 0 ? bits + 1 : bits - 1);
}
SIMT_DEVICE float round_down(double value) { return -round_up(-value); }

// A sum of `dim` nonnegative doubles, or its root, is at most this factor off.
constexpr double slack_of_sum(size_t dim) { return static_cast<double>(dim + 8) * 0x1p-50; }

constexpr double relative_error(Rounding rounding) {
    return rounding == Rounding::Bfloat16 ? 0x1p-8 : 0x1p-11;
}
constexpr double product_error(const Space& space) {  // g
    return static_cast<double>(space.padded) * 0x1p-22;
}
constexpr double form_error(const Space& space) {  // h
    return 2 * product_error(space) + 0x1p-22 + slack_of_sum(space.padded);
}

// Where rows' lengths end after scaling; halves have less room below.
constexpr int target_exponent(Rounding rounding) { return rounding == Rounding::Bfloat16 ? 0 : 8; }
// Queries that are longer than this could overflow, times their factor.
constexpr double longest_query(Rounding rounding) {
    return rounding == Rounding::Bfloat16 ? 0x1p50 : 0x1p14;
}
constexpr float query_factor(Metric metric) { return is_similar(metric) ? -1.0f : -2.0f; }

// Sums over the components of a vector before and after rounding.
struct RoundedSums {
    double exact = 0;    // of squares before
    double rounded = 0;  // of squares after
    double error = 0;    // of squares of differences
};

// The length of the difference, with what the vector was off before it was rounded.
SIMT_DEVICE double error_of(const Space& space, const RoundedSums& sums, double moved) {
    const double slack = 1 + slack_of_sum(space.padded);
    return sqrt(sums.error) * slack + (sqrt(sums.exact) * slack + moved) * 0x1p-48;
}

// n and ex, or 0 and e. Finite, so that infinite limits decide alone; what overflows passes under
// all others.
SIMT_DEVICE float2 row_terms(const Space& space, const RoundedSums& sums) {
    constexpr float kLargest = std::numeric_limits<float>::max();
    const double error = error_of(space, sums, space.scale * space.centre_length);
    if (!is_similar(space.metric)) {
        const float up = min(round_up(error), kLargest);
        const double squared = static_cast<double>(up) * static_cast<double>(up);
        const double h = form_error(space);
        const float square = round_down(sums.rounded * (1 - h) - squared * (1 + h));
        return make_float2(max(square, -kLargest), up);
    }
    const double w = relative_error(space.rounding);
    const double length = sqrt(sums.rounded) * (1 + slack_of_sum(space.padded));
    const float up = round_up(error + length * (w + product_error(space) * (1 + w)));
    return up <= kLargest ? make_float2(0, up) : make_float2(-kLargest, kLargest);
}

// `scale` is s, or s r; `product` is c.q' and `length` at least |q'|, for similarities.
SIMT_DEVICE QueryBound query_bound(const Space& space, const RoundedSums& sums, double scale,
                                   double product, double length) {
    QueryBound bound{};
    const bool similar = is_similar(space.metric);
    bound.error = error_of(space, sums, similar ? 0 : space.scale * space.centre_length);
    bound.square = sums.rounded * (1 - form_error(space));
    bound.scale = scale;
    const double off = (space.row_length + space.centre_length) * length;
    bound.offset = scale * (product + off * 2 * slack_of_sum(space.dim));
    const double exact = sqrt(sums.exact) * (1 + slack_of_sum(space.dim)) * (1 + 0x1p-48);
    const double shown = bound.error / relative_error(space.rounding);
    bound.reach = exact < shown ? shown : exact;
    bound.bounded = space.metric != Metric::L1 && exact <= longest_query(space.rounding) &&
                    form_error(space) < 0.5;
    return bound;
}

// a and t for a k-th key; both a little larger, for the roundings of the right side.
SIMT_DEVICE float2 limit_of(const Space& space, const QueryBound& bound, float kth_key) {
    if (!bound.bounded) return make_float2(__uint_as_float(0x7f800000u), 0);
    const double key = static_cast<double>(kth_key);
    double a = 0, t = 0;
    if (is_similar(space.metric)) {
        a = (key + fabs(key) * 0x1p-23 + 0x1p-149) * bound.scale + bound.offset;
        t = bound.reach;
    } else {
        const double squared = (key * (1 + 0x1p-23) + 0x1p-149) * (bound.scale * bound.scale);
        const double reach = sqrt(squared * (1 + slack_of_sum(space.dim))) + bound.error;
        a = reach * reach * (1 + 0x1p-50) - bound.square;
        t = 2 * reach;
    }
    return make_float2(round_up(a + fabs(a) * 0x1p-22 + kTiny), round_up(t * (1 + 0x1p-22)));
}

}  // namespace nearcell::gpu
