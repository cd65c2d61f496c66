// CpuBackend's dense operations on every kernel table of this machine, against double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <set>
#include <span>
#include <utility>

#include <nearcell/cpu/cpu_backend.h>
#include <nearcell/cpu/isa_select.h>
#include <nearcell/kernels/coarse_rows.h>

#include "backend_case.h"
#include "code_case.h"

namespace nearcell {
namespace {

using checks::exact_key;
using checks::ExactKey;
using checks::key_error;
using checks::Matrix;
using Sizes = std::initializer_list<size_t>;

class BackendTest : public testing::TestWithParam<const KernelTable*> {
   protected:
    const CpuBackend backend{*GetParam()};
};

TEST(FloatBlocks, KeepEveryValue) {
    Random random(1);
    for (const size_t rows : Sizes{1, 15, 16, 17, 50}) {
        for (const size_t d : Sizes{1, 3, 16, 33}) {
            const Matrix x(rows, d, random, 0, 2);
            const FloatBlocks blocks(x.view());
            ASSERT_EQ(blocks.rows(), rows);
            ASSERT_EQ(blocks.dim(), d);
            for (size_t i = 0; i < blocks_for(rows) * kBlock; ++i) {
                for (size_t j = 0; j < d; ++j) {  // lanes past the last vector are zero
                    const float expected = i < rows ? x.row(i)[j] : 0.0f;
                    ASSERT_EQ(
                        std::bit_cast<uint32_t>(blocks.block(i / kBlock)[j * kBlock + i % kBlock]),
                        std::bit_cast<uint32_t>(expected));
                }
            }
        }
    }
}

TEST_P(BackendTest, NamesItsTable) {
    EXPECT_EQ(backend.describe().rfind(std::string("cpu ") + GetParam()->isa + " (", 0), 0u);
}

TEST_P(BackendTest, ScoresAreTheKeysOfAllPairs) {
    Random random(2);
    for (const size_t d : Sizes{1, 5, 31, 100}) {
        for (const size_t rows : Sizes{1, 16, 70, 200}) {
            const size_t queries = rows == 70 ? 401 : 7;  // more than one task
            const Matrix x(rows, d, random), q(queries, d, random, 0, 3);
            const FloatBlocks blocks(x.view());
            for (const Metric metric : checks::kAllMetrics) {
                Matrix out(queries, rows, 5), again(queries, rows, 5);
                backend.scores(q.view(), blocks, metric, out.view(), 1);
                backend.scores(q.view(), blocks, metric, again.view(), 3);
                EXPECT_EQ(out.data, again.data);  // any number of threads; nothing past the rows
                for (size_t i = 0; i < queries; ++i) {
                    EXPECT_EQ(out.row(i)[rows], -99.0f);
                    for (size_t j = 0; j < rows; ++j) {
                        const ExactKey exact = exact_key(metric, q.row(i), x.row(j), d);
                        ASSERT_NEAR(out.row(i)[j], exact.key, key_error(exact, d));
                    }
                }
            }
        }
    }
}

// The label's key is the smallest up to rounding; among rows with the same values the first wins;
// keys[] is the label's own.
void expect_nearest(const Matrix& x, const Matrix& rows, Metric metric,
                    const std::vector<uint32_t>& labels, const std::vector<float>& keys) {
    const size_t d = x.cols;
    for (size_t i = 0; i < x.rows; ++i) {
        ASSERT_LT(labels[i], rows.rows);
        const float* chosen = rows.row(labels[i]);
        const ExactKey got = exact_key(metric, x.row(i), chosen, d);
        ASSERT_NEAR(keys[i], got.key, key_error(got, d));
        for (size_t j = 0; j < rows.rows; ++j) {
            const ExactKey other = exact_key(metric, x.row(i), rows.row(j), d);
            ASSERT_LE(got.key - key_error(got, d), other.key + key_error(other, d))
                << "row " << i << " got " << labels[i] << " though " << j << " is nearer";
            const bool same = std::memcmp(chosen, rows.row(j), d * sizeof(float)) == 0;
            ASSERT_FALSE(same && j < labels[i]) << j << " repeats " << labels[i];
        }
    }
}

TEST_P(BackendTest, AssignFindsTheNearestRow) {
    Random random(3);
    for (const size_t d : Sizes{1, 2, 3, 7, 16, 33, 64, 100}) {
        for (const double shift : {0.0, 3000.0}) {  // far from the origin, products cancel
            for (const size_t n : Sizes{1, 2, 17, 150}) {
                Matrix rows(n, d, random, shift);
                for (size_t i = n / 2; i < n; i += 3)  // duplicates
                    std::copy_n(rows.row(i / 3), d, rows.row(i));
                Matrix x(200, d, random, shift, 1);
                for (size_t i = 0; i < x.rows; i += 5)  // some are rows themselves
                    std::copy_n(rows.row(i % n), d, x.row(i));
                for (const Metric metric : {Metric::L2, Metric::InnerProduct, Metric::Cosine}) {
                    std::vector<uint32_t> labels(x.rows, 77), again = labels;
                    std::vector<float> keys(x.rows);
                    backend.assign(x.view(), rows.view(), metric, labels.data(), keys.data(), 1);
                    expect_nearest(x, rows, metric, labels, keys);
                    for (const int threads : {2, 3}) {
                        backend.assign(x.view(), rows.view(), metric, again.data(), nullptr,
                                       threads);
                        EXPECT_EQ(labels, again);
                    }
                }
            }
        }
    }
}

// Ties and near ties everywhere: labels must be those of the direct computation.
TEST_P(BackendTest, AssignOnAGridTakesTheFirstOfEquals) {
    Random random(4);
    for (const size_t d : Sizes{1, 3, 6}) {
        for (const float shift : {0.0f, 4096.0f}) {
            Matrix rows(90, d), x(300, d);
            for (float& v : rows.data)
                v = shift + static_cast<float>(random.below(3));
            for (float& v : x.data)
                v = shift + 0.5f * static_cast<float>(random.below(5));
            std::vector<uint32_t> labels(x.rows);
            backend.assign(x.view(), rows.view(), Metric::L2, labels.data(), nullptr, 2);
            for (size_t i = 0; i < x.rows; ++i) {
                size_t first = 0;
                for (size_t j = 1; j < rows.rows; ++j) {
                    if (exact_key(Metric::L2, x.row(i), rows.row(j), d).key <
                        exact_key(Metric::L2, x.row(i), rows.row(first), d).key)
                        first = j;
                }
                ASSERT_EQ(labels[i], first) << "d " << d << " shift " << shift;
            }
        }
    }
}

TEST_P(BackendTest, AssignNamesARowWhateverTheValues) {
    const float infinity = std::numeric_limits<float>::infinity();
    Random random(5);
    const Matrix rows(20, 4, random);
    Matrix x(3, 4, random);
    x.row(0)[1] = infinity;
    x.row(1)[2] = std::nanf("");
    for (size_t j = 0; j < 4; ++j)
        x.row(2)[j] = 3e38f;
    for (const Metric metric : {Metric::L2, Metric::InnerProduct}) {
        std::vector<uint32_t> labels(3, 99);
        backend.assign(x.view(), rows.view(), metric, labels.data(), nullptr, 1);
        for (const uint32_t label : labels)
            EXPECT_LT(label, 20u);
    }
    backend.assign({x.data.data(), 0, 4}, rows.view(), Metric::L2, nullptr, nullptr, 1);
}

// The mean of one group's rows, summed in their order; `before` where it has no mean.
std::vector<float> mean_of(const Matrix& x, const float* weights, std::span<const uint32_t> rows,
                           bool unit, const float* before) {
    std::vector<double> sum(x.cols, 0.0);
    double total = 0, squares = 0;
    for (const uint32_t row : rows) {
        const double weight = weights == nullptr ? 1.0 : static_cast<double>(weights[row]);
        for (size_t j = 0; j < x.cols; ++j)
            sum[j] += weight * static_cast<double>(x.row(row)[j]);
        total += weight;
    }
    for (const double value : sum)
        squares += value * value;
    std::vector<float> mean(before, before + x.cols);
    if (!(total > 0) || (unit && !(squares > 0))) return mean;
    for (size_t j = 0; j < x.cols; ++j)
        mean[j] = static_cast<float>(sum[j] / (unit ? std::sqrt(squares) : total));
    return mean;
}

TEST_P(BackendTest, MeansAreThoseOfTheGroupsRows) {
    Random random(15);
    Matrix x(60, 7, random, 0, 2);
    std::vector<float> weights(x.rows);
    for (size_t i = 0; i < x.rows; ++i)
        weights[i] = i < 4 ? 0.0f : 0.5f + static_cast<float>(random.uniform());
    const std::vector<size_t> begin = {0, 2, 2, 4, 5, 59};  // the third weighs nothing
    std::vector<uint32_t> order(59);
    for (size_t i = 0; i < order.size(); ++i)
        order[i] = static_cast<uint32_t>(i < 2 ? 58 + i : i < 4 ? i - 2 : i);
    std::fill_n(x.row(4), x.cols, 0.0f);  // the fourth has no direction
    const RowGroups groups{order.data(), begin.data(), 5};
    const float* const no_weights = nullptr;
    for (const float* const given : {no_weights, std::as_const(weights).data()}) {
        for (const bool unit : {false, true}) {
            const Matrix before(5, 7, random, 0, 1);
            for (const int threads : {1, 3}) {
                Matrix means = before;
                backend.move_to_means(x.view(), given, groups, unit, means.view(), threads);
                for (size_t g = 0; g < 5; ++g) {
                    const std::vector<float> expected =
                        mean_of(x, given, {order.data() + begin[g], begin[g + 1] - begin[g]}, unit,
                                before.row(g));
                    EXPECT_EQ(std::vector<float>(means.row(g), means.row(g) + 7), expected);
                }
            }
        }
    }
}

TEST_P(BackendTest, NothingIsKeptOrLeftUndone) {
    Random random(16);
    const Matrix x(3, 2, random);
    EXPECT_EQ(backend.keep(x.view()), nullptr);
    double values[4] = {1, 2, 3, 4};
    EXPECT_FALSE(backend.add_products(x.view(), values, values, values, 1));
    EXPECT_FALSE(backend.solve_symmetric(2, values, values));
    uint32_t codes[6] = {};
    EXPECT_FALSE(backend.encode_rows({{}, x.view(), nullptr, {}, codes, 1}));
    EXPECT_EQ(backend.least_rows(), 1u);
}

TEST_P(BackendTest, NearestGivesTheFirstRowsInOrder) {
    Random random(6);
    for (const size_t d : Sizes{1, 9, 40}) {
        for (const size_t n : Sizes{1, 16, 130}) {
            Matrix rows(n, d, random);
            for (size_t i = 1; i < n; i += 4)  // equal keys: the smaller row first
                std::copy_n(rows.row(i - 1), d, rows.row(i));
            const Matrix q(210, d, random, 0, 2);
            for (const Metric metric : {Metric::L2, Metric::InnerProduct}) {
                const CoarseRows coarse(rows.view(), metric);
                for (const size_t count : Sizes{1, (n + 1) / 2, n}) {
                    std::vector<uint32_t> got(q.rows * count), again(got.size());
                    std::vector<float> keys(got.size()), same(got.size());
                    backend.nearest(q.view(), coarse, count, got.data(), keys.data(), 1);
                    backend.nearest(q.view(), coarse, count, again.data(), same.data(), 3);
                    EXPECT_EQ(got, again);
                    EXPECT_EQ(keys, same);
                    for (size_t i = 0; i < q.rows; ++i) {
                        std::vector<std::pair<float, uint32_t>> order;
                        for (size_t j = 0; j < n; ++j)
                            order.emplace_back(backend.key(q.row(i), rows.row(j), d, metric),
                                               static_cast<uint32_t>(j));
                        std::sort(order.begin(), order.end());
                        for (size_t j = 0; j < count; ++j) {
                            ASSERT_EQ(got[i * count + j], order[j].second);
                            ASSERT_EQ(keys[i * count + j], order[j].first);
                        }
                    }
                }
            }
        }
    }
}

// Of very many rows in an order that has neighbours together.
TEST_P(BackendTest, NearestLooksIntoTheNearestGroups) {
    Random random(13);
    const size_t n = CoarseRows::kManyRows + 5, d = 6, groups = blocks_for(n);
    Matrix rows(n, d, random);
    for (size_t i = 0; i < n; ++i) {
        if (i % kBlock == 0) continue;  // near the first of its group
        for (size_t j = 0; j < d; ++j)
            rows.row(i)[j] = rows.row(i / kBlock * kBlock)[j] + 0.3f * rows.row(i)[j];
    }
    const Matrix q(12, d, random);
    for (const Metric metric : {Metric::L2, Metric::InnerProduct}) {
        const CoarseRows coarse(rows.view(), metric);
        ASSERT_NE(coarse.groups(), nullptr);
        const MatrixView<const float> means = coarse.groups()->rows();
        ASSERT_EQ(means.rows, groups);
        for (const size_t count : Sizes{1, 40, 900, 6000}) {
            const size_t wanted = std::max(
                static_cast<size_t>(8 * std::sqrt(static_cast<double>(groups))), count / 4 + 1);
            std::vector<uint32_t> got(q.rows * count), again(count);
            std::vector<float> keys(got.size()), same(count);
            backend.nearest(q.view(), coarse, count, got.data(), keys.data(), 2);
            for (size_t i = 0; i < q.rows; ++i) {
                std::vector<std::pair<float, uint32_t>> near, order;
                for (size_t g = 0; g < groups; ++g)
                    near.emplace_back(backend.key(q.row(i), means.row(g), d, metric),
                                      static_cast<uint32_t>(g));
                std::sort(near.begin(), near.end());
                for (size_t g = 0; g < std::min(wanted, groups); ++g) {
                    const size_t first = near[g].second * kBlock;
                    for (size_t j = first; j < std::min(n, first + kBlock); ++j)
                        order.emplace_back(backend.key(q.row(i), rows.row(j), d, metric),
                                           static_cast<uint32_t>(j));
                }
                std::sort(order.begin(), order.end());
                for (size_t j = 0; j < count; ++j) {
                    ASSERT_EQ(got[i * count + j], order[j].second) << count << " " << i << " " << j;
                    ASSERT_EQ(keys[i * count + j], order[j].first);
                }
                // By itself, the same.
                backend.nearest(q.view().slice(i, 1), coarse, count, again.data(), same.data(), 1);
                EXPECT_TRUE(std::equal(again.begin(), again.end(), &got[i * count]));
            }
        }
    }
    EXPECT_EQ(CoarseRows(Matrix(n, d, random).view(), Metric::L2).groups(), nullptr)
        << "rows in no order have no groups";
}

// The integers of the coarse step hold neither these lengths nor zero: the floats decide alone.
TEST_P(BackendTest, NearestOfVectorsThatNoIntegersHold) {
    Random random(12);
    for (const Metric metric : {Metric::L2, Metric::InnerProduct}) {
        for (const float row_scale : {1.0f, 1e-14f, 1e13f}) {
            Matrix rows(200, 5, random);
            for (float& value : rows.data)
                value *= row_scale;
            const CoarseRows coarse(rows.view(), metric);
            Matrix q(4, 5, random);
            for (size_t j = 0; j < 5; ++j) {
                q.row(0)[j] = 0;
                q.row(1)[j] *= 1e-14f;
                q.row(2)[j] *= 1e13f;
            }
            for (const size_t count : Sizes{1, 20, 150}) {
                std::vector<uint32_t> got(q.rows * count);
                std::vector<float> keys(got.size());
                backend.nearest(q.view(), coarse, count, got.data(), keys.data(), 1);
                for (size_t i = 0; i < q.rows; ++i) {
                    std::vector<std::pair<float, uint32_t>> order;
                    for (size_t j = 0; j < rows.rows; ++j)
                        order.emplace_back(backend.key(q.row(i), rows.row(j), 5, metric),
                                           static_cast<uint32_t>(j));
                    std::sort(order.begin(), order.end());
                    for (size_t j = 0; j < count; ++j) {
                        ASSERT_EQ(got[i * count + j], order[j].second) << row_scale << " " << i;
                        ASSERT_EQ(keys[i * count + j], order[j].first);
                    }
                }
            }
        }
    }
}

TEST_P(BackendTest, DecodeRowsDecodesEachRow) {
    Random random(7);
    for (const CodeKind kind : checks::kAllKinds) {
        for (const size_t d : Sizes{1, 5, 32, 67}) {
            for (const size_t count : Sizes{0, 1, 16, 37}) {
                const checks::CodeCase code(kind, d, 1 + random.below(8), random);
                const CodeView view = code.view();
                std::vector<std::vector<uint32_t>> rows;
                std::vector<uint32_t> flat;
                for (size_t i = 0; i < count; ++i) {
                    rows.push_back(code.draw_row(random, false));
                    flat.insert(flat.end(), rows.back().begin(), rows.back().end());
                }
                Matrix got(count, d, 3);
                backend.decode_rows(view, flat.data(), count, got.view());
                const std::vector<uint32_t> blocks = checks::to_blocks(rows, view.words);
                std::vector<float> expected(d * kBlock);
                for (size_t i = 0; i < count; ++i) {
                    decode_kernel(*GetParam(), kind)(
                        &view, blocks.data() + i / kBlock * view.words * kBlock, nullptr,
                        expected.data());
                    for (size_t j = 0; j < d; ++j)
                        ASSERT_EQ(got.row(i)[j], expected[j * kBlock + i % kBlock]);
                    EXPECT_EQ(got.row(i)[d], -99.0f);
                }
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Isa, BackendTest, testing::ValuesIn(runnable_tables()),
                         [](const auto& table) { return std::string(table.param->isa); });

}  // namespace
}  // namespace nearcell
