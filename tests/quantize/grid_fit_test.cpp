#include <nearcell/quantize/grid_fit.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "sample_data.h"

namespace nearcell {
namespace {

template <class Level>
double cosine(const float* x, const std::vector<Level>& levels) {
    double along = 0, norm = 0, square = 0;
    for (size_t j = 0; j < levels.size(); ++j) {
        const double value = std::fabs(static_cast<double>(x[j]));
        const double u = static_cast<double>(levels[j]) + 0.5;
        along += value * u;
        norm += u * u;
        square += value * value;
    }
    return along / std::sqrt(norm * square);
}

// The best cosine of all stretches: they differ only where a value crosses to the next level.
double best_cosine(const float* x, size_t dim, int top) {
    std::vector<double> stretches(1, 0.0);
    for (size_t j = 0; j < dim; ++j) {
        for (int level = 1; level <= top; ++level) {
            stretches.push_back(level / std::fabs(static_cast<double>(x[j])) * (1 + 1e-12));
        }
    }
    double best = 0;
    for (double stretch : stretches) {
        std::vector<double> levels(dim);
        for (size_t j = 0; j < dim; ++j) {
            const double level = std::floor(stretch * std::fabs(static_cast<double>(x[j])));
            levels[j] = std::min(level, static_cast<double>(top));
        }
        best = std::max(best, cosine(x, levels));
    }
    return best;
}

TEST(GridFit, WithinAThousandthOfTheBest) {
    for (size_t bits : {2u, 3u, 4u, 6u, 8u}) {
        for (size_t dim : {1u, 2u, 3u, 5u, 8u, 13u, 24u, 32u}) {
            const Matrix x = gaussian_rows(bits == 8 ? 10 : 60, dim, 100 * bits + dim);
            GridFit fit(dim, bits);
            for (size_t i = 0; i < x.rows; ++i) {
                const double best = best_cosine(x.row(i), dim, (1 << (bits - 1)) - 1);
                EXPECT_GT(cosine(x.row(i), fit.fit(x.row(i))), 0.999 * best) << bits << " " << dim;
            }
        }
    }
}

TEST(GridFit, AVectorOfTheGridIsFound) {
    Random random(1);
    for (size_t bits = 2; bits <= 8; ++bits) {
        for (size_t dim : {2u, 7u, 40u, 300u}) {
            GridFit fit(dim, bits);
            for (int round = 0; round < 50; ++round) {
                std::vector<uint8_t> levels(dim);
                std::vector<float> x(dim);
                for (size_t j = 0; j < dim; ++j) {
                    levels[j] = static_cast<uint8_t>(random.below(size_t{1} << (bits - 1)));
                }
                levels[0] = 0;  // u is in lowest terms
                for (size_t j = 0; j < dim; ++j) {
                    x[j] = 0.7331f * (static_cast<float>(levels[j]) + 0.5f);
                    if (random.below(2) == 0) x[j] = -x[j];
                }
                EXPECT_EQ(fit.fit(x.data()), levels);
            }
        }
    }
}

TEST(GridFit, MultiplesAreReduced) {
    GridFit fit(3, 4);
    const float x[3] = {3.0f, -9.0f, 15.0f};  // 3 : 9 : 15 = 1 : 3 : 5
    EXPECT_EQ(fit.fit(x), (std::vector<uint8_t>{0, 1, 2}));
    const float same[3] = {-2.0f, 2.0f, 2.0f};
    EXPECT_EQ(fit.fit(same), (std::vector<uint8_t>{0, 0, 0}));
}

}  // namespace
}  // namespace nearcell
