// What a query says of codes by integers: bounds of keys that hold, and that are near them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include <nearcell/cpu/coded_queries.h>
#include <nearcell/cpu/isa_select.h>

#include "backend_case.h"
#include "code_case.h"

namespace nearcell {
namespace {

using checks::CodeCase;
using checks::Matrix;

// Codes of bytes with the factors that they should have, some columns of which are the same in all
// codes, and a query. `away`: how far the centre lies from the codes; of residuals it is at 0, and
// the centroid is where the metric's mean of centroids would be, and as far again.
struct BytesCase {
    CodeCase code;
    std::vector<float> center, step, centroid;
    std::vector<std::vector<uint32_t>> rows;
    Matrix decoded, queries;
    Refinement refine;
    ScanJob job;

    BytesCase(Metric metric, bool residual, size_t d, size_t count, double away, bool equal_values,
              Random& random)
        : code(CodeKind::RangeInt8, d, 1, random, true), decoded(count, d), queries(1, d, random) {
        CodeView view = code.view();
        for (size_t j = 0; j < d; ++j)
            step.push_back(j % 7 == 3 ? 0.0f : std::fabs(view.step[j]));
        view.step = step.data();
        for (size_t j = 0; j < d; ++j) {
            center.push_back(view.offset[j] + 100.0f * view.step[j] +
                             static_cast<float>(away * random.normal()));
            centroid.push_back(residual ? center[j] + static_cast<float>(away * random.normal())
                                        : 0.0f);
        }
        if (equal_values) std::fill_n(queries.row(0), d, 0.3f);
        for (size_t i = 0; i < count; ++i) {
            std::vector<uint32_t> row = code.draw_row(random, false);
            double square = 0, cross = 0, steps = 0;
            for (size_t j = 0; j < d; ++j) {
                const float byte = static_cast<float>(row[j / 4] >> (j % 4 * 8) & 255u);
                const float value = std::fma(byte, view.step[j], view.offset[j]);
                decoded.row(i)[j] = value + centroid[j];
                const double middle = static_cast<double>(center[j]);
                const double moved = static_cast<double>(value) - (residual ? 0.0 : middle);
                square += moved * moved;
                if (residual) cross += 2 * moved * (static_cast<double>(centroid[j]) - middle);
                const double unit = static_cast<double>(view.step[j]);
                if (unit > 0) steps += moved * moved / (unit * unit);
            }
            const double term = square + cross - 0x1p-20 * (square + std::fabs(cross));
            row[row.size() - 2] =
                std::bit_cast<uint32_t>(is_similarity(metric) ? 0.0f : static_cast<float>(term));
            row[row.size() - 1] = std::bit_cast<uint32_t>(static_cast<float>(std::sqrt(steps)));
            rows.push_back(std::move(row));
        }
        refine.queries = queries.view();
        refine.code = view;
        refine.center = center.data();
        refine.residual = residual;
        job.queries = queries.view();
        job.metric = metric;
        job.code = view;
        job.refine = &refine;
    }
    BytesCase(const BytesCase&) = delete;

    // The lower bound of every row. So many times the same query that it goes through matrices,
    // where there are some.
    std::vector<Hit> bounds(const KernelTable& kernels, float margin) {
        refine.margin = margin;
        const uint32_t query = 0;
        const CodedQueries coded(job, kernels, {&query, 1});
        const PairKernel* pair = is_similarity(job.metric) ? kernels.ip_f32 : kernels.l2_f32;
        CodedQuery lookup =
            coded.of({0, pair(queries.row(0), centroid.data(), centroid.size())}, 0);
        lookup.threshold = std::numeric_limits<float>::infinity();
        const std::vector<CodedQuery> lookups(48, lookup);
        const std::vector<uint32_t> blocks = checks::to_blocks(rows, job.code.words);
        const std::vector<uint16_t> masks(blocks_for(rows.size()), 0xffff);
        std::vector<Hit> hits(masks.size() * kBlock * lookups.size());
        hits.resize(kernels.scan_int8(&job.code, blocks.data(), masks.size(), lookups.data(),
                                      lookups.size(), masks.data(), hits.data()));
        std::erase_if(hits,
                      [&](const Hit& hit) { return hit.query > 0 || hit.slot >= rows.size(); });
        std::sort(hits.begin(), hits.end(),
                  [](const Hit& a, const Hit& b) { return a.slot < b.slot; });
        return hits;
    }
};

class CodedQueriesTest : public testing::TestWithParam<const KernelTable*> {
   protected:
    // Bounds of random codes hold (a failure is one in 10^9), and are as far from keys as their
    // width says.
    void check_bounds(Metric metric, bool residual, size_t d, double away, bool equal_values,
                      Random& random) {
        BytesCase scan(metric, residual, d, 400, away, equal_values, random);
        SCOPED_TRACE(testing::Message()
                     << metric_name(metric) << " residual " << residual << " d " << d << " away "
                     << away << " equal values " << equal_values);
        const std::vector<Hit> none = scan.bounds(*GetParam(), 0.0f);
        const std::vector<Hit> one = scan.bounds(*GetParam(), 1.0f);
        ASSERT_EQ(one.size(), scan.rows.size());
        for (size_t i = 0; i < one.size(); ++i) {
            const auto exact =
                checks::exact_key(metric, scan.queries.row(0), scan.decoded.row(i), d);
            const double width = static_cast<double>(none[i].key) - static_cast<double>(one[i].key);
            ASSERT_LE(static_cast<double>(one[i].key), exact.key);
            ASSERT_LE(std::fabs(static_cast<double>(none[i].key) - exact.key),
                      width + 1e-4 * exact.magnitude);
        }
    }
};

// Queries of equal values are the worst: without the fractions, all their weights would err alike.
TEST_P(CodedQueriesTest, BoundsOfBytesHoldAndAreTight) {
    Random random(71);
    for (const Metric metric : {Metric::L2, Metric::InnerProduct}) {
        for (const size_t d : {size_t{1}, size_t{3}, size_t{16}, size_t{128}, size_t{801}}) {
            for (const bool equal_values : {false, true})
                check_bounds(metric, false, d, 0, equal_values, random);
        }
    }
}

// The centre is any point: the mean of centroids that have length 1 whatever the vectors' length,
// or that were made elsewhere. Residuals' codes have a constant column where there is one cell.
TEST_P(CodedQueriesTest, BoundsOfBytesHoldWhereverTheCentreIs) {
    Random random(72);
    for (const Metric metric : {Metric::L2, Metric::InnerProduct, Metric::Cosine}) {
        for (const bool residual : {false, true}) {
            for (const double away : {0.0, 0.5, 5.0, 300.0}) {
                for (const size_t d : {size_t{4}, size_t{32}, size_t{100}})
                    check_bounds(metric, residual, d, away, false, random);
            }
        }
    }
}

// What each centroid of a subspace adds to the key.
std::vector<double> entries_of(const CodeView& code, size_t m, const float* query,
                               bool similarity) {
    const size_t begin = code.sub_begin[m], width = code.sub_begin[m + 1] - begin;
    std::vector<double> entries(16, 0.0);
    for (size_t i = 0; i < 16 * width; ++i) {
        const double q = static_cast<double>(query[begin + i % width]);
        const double x = static_cast<double>(code.codebooks[16 * begin + i]);
        entries[i / width] += similarity ? -q * x : (q - x) * (q - x);
    }
    return entries;
}

// The code of the centroids that add the least.
std::vector<uint32_t> nearest_row(const CodeView& code, const float* query, bool similarity) {
    std::vector<uint32_t> row(code.words, 0);
    for (size_t m = 0; m < code.subquantizers; ++m) {
        const std::vector<double> entries = entries_of(code, m, query, similarity);
        const auto best = std::min_element(entries.begin(), entries.end()) - entries.begin();
        row[m / 8] |= static_cast<uint32_t>(best) << (m % 8 * 4);
    }
    return row;
}

// How far a code's bound may lie below its key: of each entry a unit, for it is rounded down, or
// what exceeds 62 units (63 itself is a whole number, which may become one less).
double most_lost(const CodeView& code, const std::vector<uint32_t>& row, const float* query,
                 bool similarity, double unit) {
    double lost = 0;
    for (size_t m = 0; m < code.subquantizers; ++m) {
        const std::vector<double> entries = entries_of(code, m, query, similarity);
        const double low = *std::min_element(entries.begin(), entries.end());
        const double above = entries[row[m / 8] >> (m % 8 * 4) & 15u] - low;
        lost += std::max(unit, above - 62 * unit);
    }
    return lost;
}

// Bounds of product codes are never above the key that floats give, also of the vector of the
// nearest centroids, where nothing is rounded down; and below it by a unit an entry at most, or
// by what exceeds the largest entry. What overflows rules nothing out.
TEST_P(CodedQueriesTest, BoundsOfProductCodesHoldAndAreTight) {
    Random random(73);
    for (const Metric metric : {Metric::L2, Metric::InnerProduct}) {
        for (const size_t d : {size_t{1}, size_t{3}, size_t{16}, size_t{128}, size_t{801}}) {
            for (const float length : {1.0f, 1e3f, 3e38f}) {
                const CodeCase code(CodeKind::Product4, d, 1, random);
                Matrix query(1, d, random), decoded(1, d);
                for (size_t j = 0; j < d; ++j)
                    query.row(0)[j] = std::copysign(length, query.row(0)[j]);
                Refinement refine;
                ScanJob job;
                job.queries = query.view();
                job.metric = metric;
                job.code = code.view();
                job.refine = &refine;
                refine.residual = false;
                const uint32_t number = 0;
                const CodedQueries coded_queries(job, *GetParam(), {&number, 1});
                CodedQuery coded = coded_queries.of({0, 0.0f}, 0);
                coded.threshold = std::numeric_limits<float>::infinity();
                std::vector<std::vector<uint32_t>> rows;
                for (size_t i = 0; i < 159; ++i)
                    rows.push_back(code.draw_row(random, true));
                rows.push_back(nearest_row(code.view(), query.row(0), is_similarity(metric)));
                const std::vector<uint32_t> blocks = checks::to_blocks(rows, job.code.words);
                const std::vector<uint16_t> masks(10, 0xffff);
                std::vector<Hit> hits(160);
                ASSERT_EQ(GetParam()->scan_product4(&job.code, blocks.data(), 10, &coded, 1,
                                                    masks.data(), hits.data()),
                          160u);
                const PairKernel* pair =
                    is_similarity(metric) ? GetParam()->ip_f32 : GetParam()->l2_f32;
                for (const Hit& hit : hits) {
                    GetParam()->lane_product4(
                        &job.code, blocks.data() + hit.slot / kBlock * job.code.words * kBlock,
                        hit.slot % kBlock, decoded.row(0));
                    const float key = pair(query.row(0), decoded.row(0), d);
                    if (std::isnan(key)) continue;
                    ASSERT_LE(hit.key, key) << metric_name(metric) << " d " << d;
                    if (!std::isfinite(hit.key) || !(length < 1e30f)) continue;
                    const double loss =
                        most_lost(job.code, rows[hit.slot], query.row(0), is_similarity(metric),
                                  static_cast<double>(coded.unit));
                    const double roundings =
                        1e-4 * checks::exact_key(metric, query.row(0), decoded.row(0), d).magnitude;
                    ASSERT_LE(static_cast<double>(key) - static_cast<double>(hit.key),
                              loss + roundings)
                        << metric_name(metric) << " d " << d;
                }
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Isa, CodedQueriesTest, testing::ValuesIn(runnable_tables()),
                         [](const auto& table) { return std::string(table.param->isa); });

}  // namespace
}  // namespace nearcell
