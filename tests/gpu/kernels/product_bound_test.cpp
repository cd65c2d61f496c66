// The bound of the scan on tensor cores by itself: a vector always passes under a limit that is its
// own key, with the worst product that a tensor core may give. Products and lengths are the test's
// own, in long double; keys and what is measured are summed in float, as the kernels do.
#include <nearcell/gpu/kernels/product_bound.cuh>

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include <nearcell/core/half.h>
#include <nearcell/core/random.h>

namespace nearcell::gpu {
namespace {

using Wide = long double;
using Vector = std::vector<float>;

float rounded(float value) { return float_from_bfloat16(bfloat16_from_float(value)); }

Wide product(const Vector& a, const Vector& b) {
    Wide sum = 0;
    for (size_t j = 0; j < a.size(); ++j)
        sum += static_cast<Wide>(a[j]) * static_cast<Wide>(b[j]);
    return sum;
}

struct Rounded {
    Vector values;
    RoundedSquares sums;
    explicit Rounded(const Vector& exact) {
        for (const float x : exact) {
            values.push_back(rounded(x));
            const float error = x - values.back();
            sums.square = std::fma(values.back(), values.back(), sums.square);
            sums.error = std::fma(error, error, sums.error);
        }
    }
};

// One vector and one query of a cell. `coded` is what the code says: of a residual, less c.
struct Case {
    Vector coded, centre, query;
    bool residual = false;
    VectorFactors factors{0, 0};
    float margin = 0, reach = 0;  // of refined Bits
};

template <KeySum kSum>
float key_of(const Case& data) {
    float sum = 0;
    for (size_t j = 0; j < data.coded.size(); ++j) {
        const float x = data.residual ? data.coded[j] + data.centre[j] : data.coded[j];
        sum = add_term<kSum>(sum, x, data.query[j]);
    }
    return kSum == KeySum::Dot ? 0.0f - sum : sum + data.factors.bias;
}

// Whether it passes under a limit, with a product as much too small as g allows.
template <CodeKind kKind, KeySum kSum>
bool passes_under(const Case& data, float limit) {
    const size_t d = data.coded.size();
    const BoundConstants constants = bound_constants(static_cast<unsigned>(d));
    Vector moved(d), query(d);
    PairSums pair;
    for (size_t j = 0; j < d; ++j) {
        moved[j] = data.residual ? data.coded[j] : data.coded[j] - data.centre[j];
        query[j] = kSum == KeySum::L2 ? data.query[j] - data.centre[j] : data.query[j];
        pair.product = std::fma(data.query[j], data.centre[j], pair.product);
        pair.centre = std::fma(data.centre[j], data.centre[j], pair.centre);
    }
    const Rounded vector(moved), other(query);
    pair.query = other.sums;
    const float centre = data.residual ? std::sqrt(pair.centre) * (1 + constants.sum) : 0.0f;
    const float reach = kSum == KeySum::L2 ? data.margin * data.reach : data.reach;
    const float square =
        is_short(vector.sums.square + vector.sums.error) ? vector.sums.square : kUnknown;
    const float2 terms =
        vector_terms<kKind, kSum>(constants, square, error_of(constants, vector.sums, centre),
                                  data.factors, data.margin, width_of(constants, pair.query));
    const float2 bound = pair_limit<kKind, kSum>(constants, pair, limit, reach);
    const Wide lengths = std::sqrt(product(vector.values, vector.values)) *
                         std::sqrt(product(other.values, other.values));
    const Wide worst =
        product(vector.values, other.values) - static_cast<Wide>(d) * 0x1p-22L * lengths;
    return passes<kSum>(static_cast<float>(worst), terms, bound);
}

Vector vector_of(size_t dim, double centre, double width, Random& random) {
    Vector result(dim);
    for (float& x : result)
        x = static_cast<float>(centre + width * random.normal());
    return result;
}

Case any_case(Random& random) {
    const size_t dim = 1 + random.below(random.below(3) == 0 ? 600 : 40);
    const double scale = random.below(2) == 0 ? 1 : std::pow(10.0, 5 * random.normal());
    const double offset = random.below(2) == 0 ? 0 : scale * std::pow(10.0, 2 * random.normal());
    Case data;
    data.residual = random.below(2) == 0;
    data.centre = vector_of(dim, offset, random.below(3) == 0 ? 0 : scale, random);
    data.coded = vector_of(dim, 0, scale * std::pow(10.0, -3 * random.uniform()), random);
    const double width = scale * std::pow(10.0, -3 * random.uniform());
    data.query = vector_of(dim, 0, random.below(4) == 0 ? 0 : width, random);
    for (size_t j = 0; j < dim; ++j) {
        const float x = data.coded[j] + data.centre[j];
        if (!data.residual) data.coded[j] = x;
        data.query[j] += random.below(8) == 0 ? 0 : random.below(4) == 0 ? x : data.centre[j];
    }
    return data;
}

TEST(ProductBound, LosesNoVector) {
    Random random(1);
    for (int turn = 0; turn < 8000; ++turn) {
        const Case data = any_case(random);
        const float l2 = key_of<KeySum::L2>(data), dot = key_of<KeySum::Dot>(data);
        ASSERT_TRUE((passes_under<CodeKind::Float32, KeySum::L2>(data, l2))) << turn;
        ASSERT_TRUE((passes_under<CodeKind::Float32, KeySum::Dot>(data, dot))) << turn;
    }
}

TEST(ProductBound, LosesNoBitsCode) {
    Random random(2);
    for (int turn = 0; turn < 8000; ++turn) {
        Case data = any_case(random);
        const float square = key_of<KeySum::L2>(data);
        data.factors.bias = -square * static_cast<float>(random.uniform());
        data.factors.error = std::sqrt(square) * static_cast<float>(random.uniform());
        data.reach = std::sqrt(square) * static_cast<float>(random.uniform());
        const float l2 = key_of<KeySum::L2>(data), dot = key_of<KeySum::Dot>(data);
        ASSERT_TRUE((passes_under<CodeKind::Bits, KeySum::L2>(data, l2))) << turn;
        data.margin = static_cast<float>(random.uniform());
        const float l2_lower = l2 - data.margin * (data.factors.error * data.reach);
        ASSERT_TRUE((passes_under<CodeKind::Bits, KeySum::L2>(data, l2_lower))) << turn;
        const float dot_lower = dot - data.margin * (0.5f * data.factors.error * data.reach);
        ASSERT_TRUE((passes_under<CodeKind::Bits, KeySum::Dot>(data, dot_lower))) << turn;
    }
}

// Values whose roundings all go the same way, against the query's: as bad as it gets.
TEST(ProductBound, HoldsWhereRoundingIsWorst) {
    const float up = std::bit_cast<float>(0x3f808000u), down = std::bit_cast<float>(0x3f807fffu);
    for (const size_t dim : {1, 32, 512}) {
        for (const float x : {up, down, -up, -down}) {
            for (const float q : {up, 2 * up, down, 64 * down, -up}) {
                const Case data{Vector(dim, x), Vector(dim, 0.0f), Vector(dim, q)};
                const float l2 = key_of<KeySum::L2>(data), dot = key_of<KeySum::Dot>(data);
                EXPECT_TRUE((passes_under<CodeKind::Float32, KeySum::L2>(data, l2)));
                EXPECT_TRUE((passes_under<CodeKind::Bits, KeySum::L2>(data, l2)));
                EXPECT_TRUE((passes_under<CodeKind::Float32, KeySum::Dot>(data, dot)));
            }
        }
    }
}

// Under a limit clearly below its key, a vector does not pass.
TEST(ProductBound, LeavesVectorsOut) {
    Random random(3);
    for (int turn = 0; turn < 1000; ++turn) {
        const Vector centre = vector_of(96, 3, 1, random);
        Case data{vector_of(96, 0, 1, random), centre, vector_of(96, 0, 1, random), true};
        for (size_t j = 0; j < 96; ++j)
            data.query[j] += centre[j];
        const float l2 = key_of<KeySum::L2>(data);
        EXPECT_FALSE((passes_under<CodeKind::Float32, KeySum::L2>(data, 0.98f * l2)));
        EXPECT_FALSE((passes_under<CodeKind::Bits, KeySum::L2>(data, 0.98f * l2)));
        const float dot = key_of<KeySum::Dot>(data);
        const float lengths = std::sqrt(96.0f * 96.0f * 11);
        EXPECT_FALSE((passes_under<CodeKind::Float32, KeySum::Dot>(data, dot - 0.01f * lengths)));
    }
}

TEST(ProductBound, OfLimitsThatNothingOrEverythingMeets) {
    Random random(4);
    const Case data{vector_of(8, 0, 1, random), vector_of(8, 0, 1, random),
                    vector_of(8, 0, 1, random)};
    const float nan = std::numeric_limits<float>::quiet_NaN();
    for (const float limit : {kNever, nan, -1.0f}) {
        EXPECT_FALSE((passes_under<CodeKind::Float32, KeySum::L2>(data, limit)));
    }
    EXPECT_FALSE((passes_under<CodeKind::Bits, KeySum::L2>(data, kNever)));
    EXPECT_FALSE((passes_under<CodeKind::Float32, KeySum::Dot>(data, kNever)));
    EXPECT_TRUE((passes_under<CodeKind::Float32, KeySum::L2>(data, kAlways)));
    EXPECT_TRUE((passes_under<CodeKind::Bits, KeySum::L2>(data, kAlways)));
    EXPECT_TRUE((passes_under<CodeKind::Float32, KeySum::Dot>(data, kAlways)));
    Case far = data;
    far.coded[3] = 0x1p63f;
    EXPECT_TRUE((passes_under<CodeKind::Float32, KeySum::L2>(far, -1.0f)));
    EXPECT_TRUE((passes_under<CodeKind::Float32, KeySum::Dot>(far, kNever)));
    far = data;
    far.query[3] = -0x1p63f;
    EXPECT_TRUE((passes_under<CodeKind::Float32, KeySum::L2>(far, 0.0f)));
}

}  // namespace
}  // namespace nearcell::gpu
