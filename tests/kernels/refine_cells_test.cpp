// Scans that refine on the way: the k best by the larger of exact key and lower bound, of all
// vectors of the probed cells, whatever the plan.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include <nearcell/cpu/coded_queries.h>
#include <nearcell/cpu/cpu_backend.h>
#include <nearcell/cpu/isa_select.h>

#include "cell_case.h"

namespace nearcell {
namespace {

using checks::CellCase;
using checks::CodeCase;
using checks::Matrix;

// Queries, and cells of one-bit codes with rows of another code to score by, or of bytes or product
// codes that are scored by themselves, or not at all.
struct RefineCase {
    CodeCase code, rerank_code;
    CellCase cells;
    std::vector<std::vector<uint32_t>> rows;
    std::vector<const uint32_t*> row_pointers;
    Matrix queries, original;
    std::vector<float> center;
    std::vector<uint32_t> probes;
    std::vector<float> probe_keys, cell_squares;
    Refinement refine;
    ScanJob job;

    RefineCase(const Backend& backend, CodeKind scanned, bool residual, CodeKind rerank,
               Metric metric, size_t d, size_t query_count, Random& random)
        : code(scanned, d, 1, random, scanned == CodeKind::RangeInt8),
          rerank_code(rerank, d + 3, 1, random),
          cells(code, backend, true, random.below(2) == 0, residual, random),
          queries(query_count, d, random),
          original(query_count, d + 3, random) {
        const bool bits = scanned == CodeKind::Bits;
        for (const CellCase::Cell& cell : cells.cells) {
            rows.emplace_back();
            for (size_t i = 0; i < cell.ids.size(); ++i) {
                const std::vector<uint32_t> row = rerank_code.draw_row(random, false);
                rows.back().insert(rows.back().end(), row.begin(), row.end());
            }
        }
        for (const std::vector<uint32_t>& cell_rows : rows)
            row_pointers.push_back(cell_rows.data());
        for (size_t j = 0; j < d; ++j)
            center.push_back(static_cast<float>(random.normal()));
        job.probe_count = 1 + random.below(cells.views.size());
        for (size_t q = 0; q < query_count; ++q) {
            for (const size_t cell : random_sample(cells.views.size(), job.probe_count, random)) {
                probes.push_back(static_cast<uint32_t>(cell));
                const float key = static_cast<float>(random.uniform());
                probe_keys.push_back(is_similarity(metric) ? -key : key);
            }
            std::sort(probe_keys.end() - static_cast<ptrdiff_t>(job.probe_count), probe_keys.end());
        }
        refine.queries = bits ? original.view() : queries.view();
        refine.code = bits ? rerank_code.view() : code.view();
        if (bits) refine.cell_rows = row_pointers;
        refine.center = center.data();
        for (size_t c = 0; c < cells.views.size(); ++c)
            cell_squares.push_back(static_cast<float>(random.uniform()));
        refine.cell_squares = cell_squares.data();
        refine.residual = residual;
        refine.margin = static_cast<float>(random.uniform());
        refine.scores = bits || random.below(2) == 0;
        job.queries = queries.view();
        job.metric = metric;
        job.code = code.view();
        job.cells = cells.views;
        job.probes = probes.data();
        job.probe_keys = probe_keys.data();
        job.refine = &refine;
    }
    RefineCase(const RefineCase&) = delete;

    std::vector<uint32_t> code_of(uint32_t number, size_t slot) const {
        const size_t words = job.code.words;
        const uint32_t* block = cells.cells[number].blocks.data() + slot / kBlock * words * kBlock;
        std::vector<uint32_t> row;
        for (size_t w = 0; w < words; ++w)
            row.push_back(block[w * kBlock + slot % kBlock]);
        return row;
    }
    // Of a query and a row, which may be relative to a centroid.
    float exact_key(const Backend& backend, const float* query, const float* row,
                    const float* centroid) const {
        const size_t dim = refine.code.dim;
        if (centroid == nullptr) return backend.key(query, row, dim, job.metric);
        if (is_similarity(job.metric)) {
            return backend.key(query, centroid, dim, job.metric) +
                   backend.key(query, row, dim, job.metric);
        }
        std::vector<float> moved;
        for (size_t j = 0; j < dim; ++j)
            moved.push_back(query[j] - centroid[j]);
        return backend.key(moved.data(), row, dim, job.metric);
    }

    // Everything that the definition says of query q, best first.
    std::vector<Candidate> expected(size_t q, const KernelTable& kernels,
                                    const Backend& backend) const {
        const bool bits = job.code.kind == CodeKind::Bits;
        const uint32_t number_of_query = static_cast<uint32_t>(q);
        const CodedQueries coded(job, kernels, {&number_of_query, 1});
        std::vector<Candidate> all;
        for (size_t rank = 0; rank < job.probe_count; ++rank) {
            const uint32_t number = probes[q * job.probe_count + rank];
            const CellView& cell = cells.views[number];
            CodedQuery lookup = coded.of({0, probe_keys[q * job.probe_count + rank]}, number);
            lookup.threshold = std::numeric_limits<float>::infinity();
            const size_t blocks = blocks_for(cell.size);
            std::vector<uint16_t> masks(blocks, 0xffff);
            if (cell.masks != nullptr) masks.assign(cell.masks, cell.masks + blocks);
            std::vector<Hit> hits(blocks * kBlock);
            const auto scan = bits                                   ? kernels.scan_bits
                              : job.code.kind == CodeKind::RangeInt8 ? kernels.scan_int8
                                                                     : kernels.scan_product4;
            hits.resize(
                scan(&job.code, cell.blocks, blocks, &lookup, 1, masks.data(), hits.data()));
            for (const Hit& hit : hits) {
                if (hit.slot >= cell.size) continue;
                Matrix row(1, refine.code.dim);
                if (bits) {
                    backend.decode_rows(refine.code,
                                        row_pointers[number] + hit.slot * refine.code.words, 1,
                                        row.view());
                } else {
                    backend.decode_rows(refine.code, code_of(number, hit.slot).data(), 1,
                                        row.view());
                }
                float exact = hit.key;
                if (refine.scores) {
                    exact = exact_key(backend, refine.queries.row(q), row.row(0),
                                      bits ? nullptr : cell.centroid);
                }
                all.push_back(
                    {std::max(exact, hit.key), exact, cell.ids[hit.slot], number, hit.slot});
            }
        }
        std::sort(all.begin(), all.end(), nearer);
        return all;
    }
};

class RefineCellsTest : public testing::TestWithParam<const KernelTable*> {
   protected:
    const CpuBackend backend{*GetParam()};
};

struct Kinds {
    CodeKind scanned;
    bool residual;
    CodeKind rerank;
};

TEST_P(RefineCellsTest, FindsTheBestWhateverThePlan) {
    Random random(37);
    using enum CodeKind;
    for (const Kinds& kinds : {Kinds{Bits, true, Float32}, Kinds{Bits, true, Float16},
                               Kinds{Bits, true, BFloat16}, Kinds{Bits, true, RangeInt8},
                               Kinds{RangeInt8, false, Float32}, Kinds{RangeInt8, true, Float32},
                               Kinds{Product4, false, Float32}, Kinds{Product4, true, Float32}}) {
        for (const Metric metric : {Metric::L2, Metric::InnerProduct}) {
            if (kinds.scanned == Product4 && kinds.residual && metric == Metric::L2) continue;
            for (const size_t query_count : {size_t{1}, size_t{7}, size_t{130}}) {
                const size_t d = 1 + random.below(90);
                const RefineCase scan(backend, kinds.scanned, kinds.residual, kinds.rerank, metric,
                                      d, query_count, random);
                SCOPED_TRACE(testing::Message()
                             << "kinds " << static_cast<int>(kinds.scanned) << " and "
                             << static_cast<int>(kinds.rerank) << " metric " << metric_name(metric)
                             << " queries " << query_count << " d " << d);
                for (const size_t k : {size_t{1}, size_t{10}, size_t{1000}}) {
                    for (int plans = 0; plans < 4; ++plans) {
                        ScanJob job = scan.job;
                        job.plan.queries_per_task = 1 + random.below(query_count);
                        job.plan.splits = 1 + random.below(4);
                        job.threads = static_cast<int>(1 + random.below(3));
                        std::vector<TopK> got(query_count, TopK(k));
                        const ScanCounts counts = backend.scan_cells(job, got);
                        EXPECT_LE(counts.refined, counts.scanned);
                        for (size_t q = 0; q < query_count; ++q) {
                            std::vector<Candidate> expected =
                                scan.expected(q, *GetParam(), backend);
                            expected.resize(std::min(k, expected.size()));
                            ASSERT_TRUE(checks::same_candidates(got[q].sorted(), expected))
                                << "k " << k << " query " << q << " per task "
                                << job.plan.queries_per_task << " splits " << job.plan.splits;
                        }
                    }
                }
            }
        }
    }
}

// Parts of a cell know different thresholds, and so do tasks that end differently: what is out of
// reach must not depend on them.
TEST_P(RefineCellsTest, LeavesTheSameOutWhateverThePlan) {
    Random random(38);
    using enum CodeKind;
    size_t fewer = 0;
    for (const Kinds& kinds : {Kinds{Bits, true, Float16}, Kinds{RangeInt8, false, Float32},
                               Kinds{Product4, false, Float32}}) {
        for (const Metric metric : {Metric::L2, Metric::Cosine}) {
            for (const size_t query_count : {size_t{1}, size_t{60}}) {
                const RefineCase scan(backend, kinds.scanned, kinds.residual, kinds.rerank, metric,
                                      20, query_count, random);
                const auto run = [&](float reach, const ScanPlan& plan, int threads,
                                     std::vector<TopK>& best) {
                    ScanJob job = scan.job;
                    job.reach = reach;
                    job.plan = plan;
                    job.threads = threads;
                    return backend.scan_cells(job, best).scanned;
                };
                for (const float reach : {0.0f, 0.05f, 0.2f}) {
                    std::vector<TopK> all(query_count, TopK(3)), expected(all);
                    const uint64_t most =
                        run(std::numeric_limits<float>::infinity(), {query_count, 1}, 1, all);
                    const uint64_t scanned = run(reach, {query_count, 1}, 1, expected);
                    ASSERT_LE(scanned, most);
                    fewer += scanned < most;
                    for (int plans = 0; plans < 6; ++plans) {
                        std::vector<TopK> got(query_count, TopK(3));
                        const ScanPlan plan{1 + random.below(query_count), 1 + random.below(4)};
                        EXPECT_EQ(run(reach, plan, static_cast<int>(1 + random.below(3)), got),
                                  scanned);
                        for (size_t q = 0; q < query_count; ++q) {
                            ASSERT_TRUE(
                                checks::same_candidates(got[q].sorted(), expected[q].sorted()))
                                << "query " << q << " per task " << plan.queries_per_task
                                << " splits " << plan.splits;
                        }
                    }
                }
            }
        }
    }
    EXPECT_GT(fewer, 3u);
}

INSTANTIATE_TEST_SUITE_P(Isa, RefineCellsTest, testing::ValuesIn(runnable_tables()),
                         [](const auto& table) { return std::string(table.param->isa); });

}  // namespace
}  // namespace nearcell
