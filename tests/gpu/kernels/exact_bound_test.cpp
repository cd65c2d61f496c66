// The bound that leaves rows out, against exact distances: a row always passes under a limit that
// is its own key, with the worst product that a tensor core may give, and rows clearly beyond do
// not. Rounding and sums are the test's own, in long double.
#include <nearcell/gpu/kernels/exact_bound.cuh>

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include <nearcell/core/half.h>
#include <nearcell/core/random.h>

namespace nearcell::gpu {
namespace {

using Wide = long double;
using Vector = std::vector<float>;

float rounded(Rounding rounding, Wide value) {
    const float single = static_cast<float>(static_cast<double>(value));
    return rounding == Rounding::Bfloat16 ? float_from_bfloat16(bfloat16_from_float(single))
                                          : float_from_float16(float16_from_float(single));
}

// A vector after it was moved and scaled, and after rounding.
struct Moved {
    std::vector<Wide> exact;
    Vector values;
    RoundedSums sums;
};

Moved moved(const Space& space, const std::vector<Wide>& exact) {
    Moved result{exact, Vector(exact.size()), {}};
    Wide sums[3] = {};
    for (size_t j = 0; j < exact.size(); ++j) {
        result.values[j] = rounded(space.rounding, exact[j]);
        const Wide value = static_cast<Wide>(result.values[j]);
        sums[0] += exact[j] * exact[j];
        sums[1] += value * value;
        sums[2] += (exact[j] - value) * (exact[j] - value);
    }
    result.sums = {static_cast<double>(sums[0]), static_cast<double>(sums[1]),
                   static_cast<double>(sums[2])};
    return result;
}

Wide length(const std::vector<Wide>& vector) {
    Wide sum = 0;
    for (const Wide x : vector)
        sum += x * x;
    return std::sqrt(sum);
}

Wide product(const std::vector<Wide>& a, const std::vector<Wide>& b) {
    Wide sum = 0;
    for (size_t j = 0; j < a.size(); ++j)
        sum += a[j] * b[j];
    return sum;
}

// x', of what is floats.
std::vector<Wide> prepared(Metric metric, const Vector& vector) {
    std::vector<Wide> wide(vector.begin(), vector.end());
    const Wide by = metric == Metric::Cosine ? length(wide) : 1;
    for (Wide& x : wide)
        x = by == 0 ? 0 : x / by;
    return wide;
}

struct Case {
    Metric metric;
    Rounding rounding;
    Vector centre;
    std::vector<Vector> rows, queries;
};

// Scales and lengths as the host finds them.
Space space_of(const Case& data) {
    Space space{};
    space.metric = data.metric;
    space.rounding = data.rounding;
    space.dim = data.centre.size();
    space.padded = (space.dim + 31) / 32 * 32;
    Wide longest = 0;
    for (const Vector& row : data.rows) {
        std::vector<Wide> u = prepared(data.metric, row);
        for (size_t j = 0; j < u.size(); ++j)
            u[j] -= static_cast<Wide>(data.centre[j]);
        longest = std::max(longest, length(u));
    }
    int exponent = 0;
    std::frexp(longest, &exponent);
    space.scale = longest > 0 ? std::ldexp(1.0, target_exponent(data.rounding) - exponent) : 1;
    const std::vector<Wide> centre(data.centre.begin(), data.centre.end());
    space.centre_length = static_cast<double>(length(centre)) * (1 + 1e-15);
    space.row_length = static_cast<double>(longest) * (1 + 1e-15) + space.centre_length;
    return space;
}

struct PreparedQuery {
    std::vector<Wide> prime;
    Moved y;
    QueryBound bound;
};

PreparedQuery prepare_query(const Case& data, const Space& space, const Vector& query) {
    PreparedQuery result{prepared(data.metric, query), {}, {}};
    const bool similar = is_similar(data.metric);
    Wide scale = static_cast<Wide>(space.scale);
    if (similar) {
        int exponent = 0;
        std::frexp(length(result.prime), &exponent);
        scale = std::ldexp(Wide{1}, target_exponent(space.rounding) - exponent);
    }
    std::vector<Wide> y = result.prime;
    const std::vector<Wide> centre(data.centre.begin(), data.centre.end());
    for (size_t j = 0; j < y.size(); ++j)
        y[j] = (similar ? y[j] : y[j] - centre[j]) * scale;
    result.y = moved(space, y);
    const Wide whole = similar ? scale * static_cast<Wide>(space.scale) : scale;
    result.bound = query_bound(space, result.y.sums, static_cast<double>(whole),
                               static_cast<double>(product(result.prime, centre)),
                               static_cast<double>(length(result.prime)) * (1 + 1e-15));
    return result;
}

float key_of(Metric metric, const std::vector<Wide>& x, const std::vector<Wide>& q) {
    if (is_similar(metric)) return static_cast<float>(-product(x, q));
    Wide sum = 0;
    for (size_t j = 0; j < x.size(); ++j)
        sum += (x[j] - q[j]) * (x[j] - q[j]);
    return static_cast<float>(sum);
}

// Whether a row passes, with a sum that is as much too large as g allows.
bool passes(const Space& space, const Moved& u, const Moved& y, float2 limit) {
    const std::vector<Wide> ub(u.values.begin(), u.values.end()),
        yb(y.values.begin(), y.values.end());
    const float2 terms = row_terms(space, u.sums);
    const Wide factor = static_cast<Wide>(query_factor(space.metric)),
               start = static_cast<Wide>(terms.x);
    const Wide largest = std::abs(start) + std::abs(factor) * length(ub) * length(yb);
    const Wide sum =
        start + factor * product(ub, yb) + static_cast<Wide>(product_error(space)) * largest;
    return static_cast<float>(sum) <= std::fma(limit.y, terms.y, limit.x);
}

struct Tally {
    size_t pairs = 0, lost = 0, beyond = 0, let_pass = 0;
};

// Every row under the limit of its own key, and, to see that the bound is no idle one, under that
// of the key nearest to all.
Tally tally(const Case& data) {
    Tally result;
    const Space space = space_of(data);
    std::vector<std::vector<Wide>> primes;
    std::vector<Moved> rows;
    for (const Vector& row : data.rows) {
        primes.push_back(prepared(data.metric, row));
        std::vector<Wide> u = primes.back();
        for (size_t j = 0; j < u.size(); ++j)
            u[j] = (u[j] - static_cast<Wide>(data.centre[j])) * static_cast<Wide>(space.scale);
        rows.push_back(moved(space, u));
    }
    for (const Vector& query : data.queries) {
        const PreparedQuery prepared_query = prepare_query(data, space, query);
        if (!prepared_query.bound.bounded) continue;
        std::vector<float> keys;
        for (const std::vector<Wide>& prime : primes)
            keys.push_back(key_of(data.metric, prime, prepared_query.prime));
        const float nearest = *std::min_element(keys.begin(), keys.end());
        for (size_t i = 0; i < rows.size(); ++i) {
            const auto under = [&](float key) {
                return passes(space, rows[i], prepared_query.y,
                              limit_of(space, prepared_query.bound, key));
            };
            ++result.pairs;
            result.lost += under(keys[i]) ? 0 : 1;
            result.beyond += keys[i] > nearest ? 1 : 0;
            result.let_pass += keys[i] > nearest && under(nearest) ? 1 : 0;
        }
    }
    return result;
}

std::vector<Vector> vectors(size_t count, size_t dim, Random& random, double centre, double width) {
    std::vector<Vector> result(count, Vector(dim));
    for (Vector& vector : result) {
        for (float& x : vector)
            x = static_cast<float>(centre + width * random.normal());
    }
    return result;
}

Vector mean(Metric metric, const std::vector<Vector>& rows) {
    std::vector<Wide> sum(rows.front().size(), 0);
    for (const Vector& row : rows) {
        const std::vector<Wide> prime = prepared(metric, row);
        for (size_t j = 0; j < sum.size(); ++j)
            sum[j] += prime[j] / static_cast<Wide>(rows.size());
    }
    return Vector(sum.begin(), sum.end());
}

constexpr Metric kProducts[] = {Metric::L2, Metric::InnerProduct, Metric::Cosine};
constexpr Rounding kRoundings[] = {Rounding::Bfloat16, Rounding::Half};

TEST(ExactBound, LosesNoRow) {
    Random random(1);
    for (const size_t dim : {1, 2, 16, 33, 128}) {
        for (const double centre : {0.0, 3.0, 1e4}) {
            for (const double width : {1e-18, 1e-3, 1.0, 1e15}) {
                std::vector<Vector> rows = vectors(30, dim, random, centre, width);
                for (Vector& row : vectors(10, dim, random, centre, width * 1e3))
                    rows.push_back(row);
                rows.push_back(Vector(dim, 0.0f));
                std::vector<Vector> queries = vectors(4, dim, random, centre, width);
                queries.push_back(rows[5]);
                queries.push_back(vectors(1, dim, random, -centre, width * 1e-3).front());
                queries.push_back(Vector(dim, 0.0f));
                for (const Metric metric : kProducts) {
                    for (const Rounding rounding : kRoundings) {
                        const Tally found =
                            tally({metric, rounding, mean(metric, rows), rows, queries});
                        ASSERT_EQ(found.lost, 0u)
                            << "of " << found.pairs << ", " << metric_name(metric) << ", dim "
                            << dim << ", centre " << centre << ", width " << width;
                    }
                }
            }
        }
    }
}

// Rows whose roundings all go the same way, against the query's: as bad as it gets.
TEST(ExactBound, HoldsWhereRoundingIsWorst) {
    const float up = std::bit_cast<float>(0x3f808000u), down = std::bit_cast<float>(0x3f807fffu);
    for (const size_t dim : {1, 32, 512}) {
        std::vector<Vector> rows, queries;
        for (const float scale : {1.0f, 2.0f, 64.0f}) {
            for (const float value : {up, down, -up, -down}) {
                rows.emplace_back(dim, scale * value);
                queries.emplace_back(dim, scale * value);
            }
        }
        for (const Metric metric : kProducts) {
            for (const Rounding rounding : kRoundings) {
                const Tally found = tally({metric, rounding, Vector(dim, 0.0f), rows, queries});
                ASSERT_EQ(found.pairs, 144u);
                ASSERT_EQ(found.lost, 0u) << metric_name(metric) << ", dim " << dim;
            }
        }
    }
}

TEST(ExactBound, LeavesMostRowsOut) {
    Random random(2);
    for (const Metric metric : kProducts) {
        for (const Rounding rounding : kRoundings) {
            const std::vector<Vector> rows = vectors(300, 96, random, 5, 1);
            const Tally found =
                tally({metric, rounding, mean(metric, rows), rows, vectors(5, 96, random, 5, 1)});
            EXPECT_LT(found.let_pass, found.beyond / 50) << metric_name(metric);
            EXPECT_EQ(found.lost, 0u);
        }
    }
}

TEST(ExactBound, RoundsUpAndDown) {
    EXPECT_EQ(round_up(0.0), 0.0f);
    EXPECT_EQ(round_up(1.0), 1.0f);
    EXPECT_EQ(round_up(1e-300), std::bit_cast<float>(1u));
    EXPECT_EQ(round_down(1e-300), 0.0f);
    EXPECT_EQ(round_up(-1e-300), 0.0f);
    EXPECT_EQ(round_up(1e300), std::numeric_limits<float>::infinity());
    EXPECT_EQ(round_up(-1e300), std::numeric_limits<float>::lowest());
    Random random(3);
    for (int i = 0; i < 1000; ++i) {
        const double value = random.normal() * std::pow(10.0, random.normal() * 10);
        const float up = round_up(value), down = round_down(value);
        EXPECT_GE(static_cast<double>(up), value);
        EXPECT_LE(static_cast<double>(down), value);
        EXPECT_LE(up, std::nextafter(down, std::numeric_limits<float>::infinity()));
    }
}

}  // namespace
}  // namespace nearcell::gpu
