// CpuBackend's scans of coded cells against brute force over the decoded vectors: every kind of
// code, every metric, with any plan and any number of threads giving the same bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include <nearcell/cpu/cpu_backend.h>
#include <nearcell/cpu/isa_select.h>

#include "cell_case.h"

namespace nearcell {
namespace {

using checks::CellCase;
using checks::ExpectedVector;
using checks::Matrix;

// One scan: random queries, and for each the probes, a random choice of different cells.
struct ScanCase {
    checks::CodeCase code;
    CellCase cells;
    Matrix queries;
    std::vector<uint32_t> probes;
    std::vector<float> probe_keys;
    ScanJob job;
    std::vector<std::vector<ExpectedVector>> expected;  // each query's, all of them
    uint64_t pairs = 0;                                 // vectors that queries must look at

    ScanCase(const Backend& backend, CodeKind kind, Metric metric, size_t query_count,
             uint64_t turn, Random& random)
        : code(kind, 1 + random.below(70), 1 + turn % 8, random),
          cells(code, backend, turn % 3 != 2, turn % 2 == 0, turn % 4 < 2, random),
          queries(query_count, code.view().dim, random, 0, turn % 3) {
        job.queries = queries.view();
        job.metric = metric;
        job.code = code.view();
        job.cells = cells.views;
        // Without ids, those of two cells are the same numbers: the order would not be a total one.
        job.probe_count = turn % 3 == 2 ? 1 : 1 + random.below(cells.views.size());
        expected.resize(query_count);
        for (size_t q = 0; q < query_count; ++q) {
            for (const size_t cell : random_sample(cells.views.size(), job.probe_count, random)) {
                probes.push_back(static_cast<uint32_t>(cell));
                probe_keys.push_back(static_cast<float>(random.uniform()));
                cells.append(probes.back(), metric, queries.row(q), expected[q]);
            }
            pairs += expected[q].size();
        }
        job.probes = probes.data();
        if (turn % 3 != 0) job.probe_keys = probe_keys.data();
    }
    ScanCase(const ScanCase&) = delete;

    // The bound below which the true key is not expected, from RaBitQ's third factor.
    double lower_gap(size_t q, const ExpectedVector& vector) const {
        if (job.code.kind != CodeKind::Bits) return 0;
        const double factor = static_cast<double>(vector.bound_factor);
        if (job.metric != Metric::L2) {
            const checks::ExactKey norm = checks::exact_key(Metric::InnerProduct, queries.row(q),
                                                            queries.row(q), queries.cols);
            return 0.5 * factor * std::sqrt(norm.magnitude);
        }
        if (job.probe_keys == nullptr) return std::numeric_limits<double>::infinity();
        for (size_t rank = 0; rank < job.probe_count; ++rank) {
            const size_t at = q * job.probe_count + rank;
            if (probes[at] == vector.candidate.cell)
                return factor * std::sqrt(static_cast<double>(probe_keys[at]));
        }
        return 0;
    }

    // Each candidate is one of the expected vectors, once, with its key. Returns which they are.
    std::vector<bool> match(size_t q, const std::vector<Candidate>& got) const {
        std::map<std::pair<uint32_t, uint32_t>, size_t> where;
        for (size_t i = 0; i < expected[q].size(); ++i)
            where[{expected[q][i].candidate.cell, expected[q][i].candidate.slot}] = i;
        std::vector<bool> found(expected[q].size(), false);
        for (const Candidate& candidate : got) {
            const auto it = where.find({candidate.cell, candidate.slot});
            EXPECT_NE(it, where.end()) << "cell " << candidate.cell << " slot " << candidate.slot;
            if (it == where.end()) continue;
            const ExpectedVector& vector = expected[q][it->second];
            EXPECT_FALSE(found[it->second]) << "found twice";
            found[it->second] = true;
            EXPECT_EQ(candidate.id, vector.candidate.id);
            EXPECT_NEAR(candidate.key, vector.exact.key, vector.error);
            const double lower = static_cast<double>(candidate.key) - lower_gap(q, vector);
            if (std::isinf(lower)) {
                EXPECT_EQ(static_cast<double>(candidate.lower), lower);
            } else {
                EXPECT_NEAR(candidate.lower, lower, 1e-5 * (1 + std::fabs(lower)));
            }
        }
        return found;
    }
};

class ScanCellsTest : public testing::TestWithParam<const KernelTable*> {
   protected:
    const CpuBackend backend{*GetParam()};

    // Calls run(case) for every kind of code and metric it goes with, and some numbers of queries.
    template <class Run>
    void for_each_case(Run&& run) {
        Random random(31);
        uint64_t turn = 0;
        for (const CodeKind kind : checks::kAllKinds) {
            for (const Metric metric : checks::kAllMetrics) {
                if (kind == CodeKind::Bits && metric == Metric::L1) continue;  // no such estimate
                // Cosine is InnerProduct to a scan: once is enough.
                if (kind != CodeKind::Float16 && metric == Metric::Cosine) continue;
                // One query, some, or more than one kernel call takes.
                const size_t many = turn % 8 == 0 ? 130 : 1;
                for (const size_t queries : {many, 2 + random.below(12)}) {
                    const ScanCase scan(backend, kind, metric, queries, turn++, random);
                    SCOPED_TRACE(testing::Message()
                                 << "kind " << static_cast<int>(kind) << " metric "
                                 << metric_name(metric) << " queries " << queries << " d "
                                 << scan.job.code.dim);
                    run(scan, random);
                    if (HasFailure()) return;
                }
            }
        }
    }
    // Another way of going through the same work.
    static ScanJob replanned(const ScanCase& scan, Random& random) {
        ScanJob job = scan.job;
        job.plan.queries_per_task = 1 + random.below(scan.queries.rows);
        job.plan.splits = 1 + random.below(5);
        job.threads = static_cast<int>(1 + random.below(3));
        return job;
    }
};

TEST_P(ScanCellsTest, FindsTheBestOfTheProbedCells) {
    for_each_case([&](const ScanCase& scan, Random& random) {
        for (const size_t k : {size_t{1}, size_t{10}, size_t{1000}}) {
            std::vector<TopK> first(scan.queries.rows, TopK(k));
            EXPECT_EQ(backend.scan_cells(scan.job, first).scanned, scan.pairs);
            for (size_t q = 0; q < first.size(); ++q) {
                const std::vector<Candidate>& got = first[q].sorted();
                const std::vector<ExpectedVector>& all = scan.expected[q];
                ASSERT_EQ(got.size(), std::min(k, all.size()));
                ASSERT_TRUE(std::is_sorted(got.begin(), got.end(), nearer));
                const std::vector<bool> found = scan.match(q, got);
                const double last = got.empty() ? 0 : static_cast<double>(got.back().key);
                for (size_t i = 0; i < all.size(); ++i) {
                    const bool clearly = all[i].exact.key + all[i].error < last;
                    ASSERT_TRUE(found[i] || !clearly) << "query " << q << " lost a neighbour";
                }
            }
            for (int plans = 0; plans < 4; ++plans) {
                const ScanJob job = replanned(scan, random);
                std::vector<TopK> again(scan.queries.rows, TopK(k));
                EXPECT_EQ(backend.scan_cells(job, again).scanned, scan.pairs);
                for (size_t q = 0; q < again.size(); ++q) {
                    ASSERT_TRUE(checks::same_candidates(first[q].sorted(), again[q].sorted()))
                        << "k " << k << " per task " << job.plan.queries_per_task << " splits "
                        << job.plan.splits << " threads " << job.threads;
                }
            }
        }
    });
}

std::vector<Candidate> ordered(std::vector<Candidate> hits) {
    std::sort(hits.begin(), hits.end(), [](const Candidate& a, const Candidate& b) {
        return a.cell != b.cell ? a.cell < b.cell : a.slot < b.slot;
    });
    return hits;
}

TEST_P(ScanCellsTest, RangeFindsEverythingWithinTheRadius) {
    const float infinity = std::numeric_limits<float>::infinity();
    for_each_case([&](const ScanCase& scan, Random& random) {
        std::vector<std::vector<Candidate>> every(scan.queries.rows);
        backend.scan_cells_range(scan.job, infinity, every);
        // A key that occurs: its vector must stay out, the radius is not included.
        float radius = 0;
        for (const std::vector<Candidate>& hits : every) {
            if (!hits.empty()) radius = hits[random.below(hits.size())].key;
        }
        for (const float limit : {infinity, radius, std::nextafter(radius, infinity), -infinity}) {
            std::vector<std::vector<Candidate>> first(scan.queries.rows);
            EXPECT_EQ(backend.scan_cells_range(scan.job, limit, first).scanned, scan.pairs);
            for (size_t q = 0; q < first.size(); ++q) {
                scan.match(q, first[q]);
                std::vector<Candidate> within;
                for (const Candidate& candidate : every[q]) {
                    if (candidate.key < limit) within.push_back(candidate);
                }
                ASSERT_TRUE(checks::same_candidates(ordered(first[q]), ordered(within)));
                ASSERT_TRUE(limit != infinity || first[q].size() == scan.expected[q].size());
            }
            for (int plans = 0; plans < 3; ++plans) {
                std::vector<std::vector<Candidate>> again(scan.queries.rows);
                backend.scan_cells_range(replanned(scan, random), limit, again);
                for (size_t q = 0; q < again.size(); ++q)
                    ASSERT_TRUE(checks::same_candidates(ordered(first[q]), ordered(again[q])));
            }
        }
    });
}

TEST_P(ScanCellsTest, NothingComesOfNothing) {
    Random random(5);
    const ScanCase scan(backend, CodeKind::Float16, Metric::L2, 3, 0, random);
    ScanJob job = scan.job;
    std::vector<TopK> results(3, TopK(4));
    job.probe_count = 0;
    EXPECT_EQ(backend.scan_cells(job, results).scanned, 0u);
    EXPECT_TRUE(results[0].sorted().empty());
    job = scan.job;
    job.queries.rows = 0;
    EXPECT_EQ(backend.scan_cells(job, {}).scanned, 0u);
    EXPECT_EQ(backend.scan_cells_range(job, 1.0f, {}).scanned, 0u);
}

INSTANTIATE_TEST_SUITE_P(Isa, ScanCellsTest, testing::ValuesIn(runnable_tables()),
                         [](const auto& table) { return std::string(table.param->isa); });

}  // namespace
}  // namespace nearcell
