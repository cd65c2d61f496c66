// CpuBackend::rerank against brute force: the k best by the exact key whatever the estimates were,
// and candidates are skipped by their lower bounds without losing a true neighbour.
#include <gtest/gtest.h>

#include <algorithm>

#include <nearcell/cpu/cpu_backend.h>
#include <nearcell/cpu/isa_select.h>

#include "cell_case.h"

namespace nearcell {
namespace {

using checks::Matrix;

constexpr size_t kCells = 4, kRows = 60;  // rows a cell

enum class Bounds { Equal, True, None };  // lower = key, a true lower bound, minus infinity

struct RerankCase {
    checks::CodeCase code;
    std::vector<std::vector<uint32_t>> words;  // of each cell
    std::vector<const uint32_t*> cell_rows;
    std::vector<Matrix> decoded;
    Matrix queries;
    std::vector<std::vector<Candidate>> candidates, exact;  // of each query
    RerankJob job;

    RerankCase(const CpuBackend& backend, PairKernel* key_of, CodeKind kind, Metric metric,
               Bounds bounds, Random& random)
        : code(kind, 1 + random.below(90), 2, random), queries(7, code.view().dim, random, 0, 1) {
        const CodeView view = code.view();
        for (size_t c = 0; c < kCells; ++c) {
            words.emplace_back();
            for (size_t i = 0; i < kRows; ++i) {
                const std::vector<uint32_t> row = code.draw_row(random, false);
                words[c].insert(words[c].end(), row.begin(), row.end());
            }
            decoded.emplace_back(kRows, view.dim);
            backend.decode_rows(view, words[c].data(), kRows, decoded[c].view());
        }
        for (const std::vector<uint32_t>& cell : words)
            cell_rows.push_back(cell.data());
        for (size_t q = 0; q < queries.rows; ++q)
            add_candidates(q, key_of, bounds, random);
        job.queries = queries.view();
        job.metric = metric;
        job.code = view;
        job.cell_rows = cell_rows;
    }
    RerankCase(const RerankCase&) = delete;

    void add_candidates(size_t q, PairKernel* key_of, Bounds bounds, Random& random) {
        std::vector<Candidate> list, truth;
        for (const size_t at : random_sample(kCells * kRows, 40 * q, random)) {  // query 0: none
            Candidate candidate;
            candidate.cell = static_cast<uint32_t>(at / kRows);
            candidate.slot = static_cast<uint32_t>(at % kRows);
            candidate.id = static_cast<int64_t>(7 * at % 1000);
            const float* row = decoded[candidate.cell].row(candidate.slot);
            const float key = key_of(queries.row(q), row, queries.cols);
            candidate.key = candidate.lower = key;
            truth.push_back(candidate);
            const double noise = 0.3 * random.normal() * std::fabs(static_cast<double>(key));
            candidate.key += static_cast<float>(noise);
            candidate.lower = candidate.key;
            if (bounds == Bounds::None) candidate.lower = -std::numeric_limits<float>::infinity();
            if (bounds == Bounds::True) {
                const float slack = static_cast<float>(0.2 * random.uniform()) * std::fabs(key);
                candidate.lower =
                    std::min(candidate.key, key - slack * (random.below(2) ? 1.f : 0.f));
            }
            list.push_back(candidate);
        }
        std::sort(list.begin(), list.end(), nearer);
        std::sort(truth.begin(), truth.end(), nearer);
        candidates.push_back(list);
        exact.push_back(truth);
    }
};

class RerankTest : public testing::TestWithParam<const KernelTable*> {
   protected:
    const CpuBackend backend{*GetParam()};

    PairKernel* key_of(Metric metric) const {
        if (is_similarity(metric)) return GetParam()->ip_f32;
        return metric == Metric::L1 ? GetParam()->l1_f32 : GetParam()->l2_f32;
    }
    // Runs and compares; returns what was counted.
    RerankCounts expect_best(const RerankCase& input, size_t k, int threads) const {
        RerankJob job = input.job;
        job.k = k;
        job.threads = threads;
        std::vector<std::vector<Candidate>> got = input.candidates;
        const RerankCounts counts = backend.rerank(job, got);
        size_t total = 0;
        for (size_t q = 0; q < got.size(); ++q) {
            total += input.candidates[q].size();
            std::vector<Candidate> expected = input.exact[q];
            if (k != 0 && k < expected.size()) expected.resize(k);
            EXPECT_TRUE(checks::same_candidates(got[q], expected))
                << "query " << q << " k " << k << " threads " << threads << ": " << got[q].size()
                << " candidates";
        }
        EXPECT_EQ(counts.scored + counts.skipped, total);
        return counts;
    }
};

TEST_P(RerankTest, LeavesTheBestByTheExactKey) {
    Random random(41);
    for (const CodeKind kind : checks::kAllKinds) {
        for (const Metric metric : checks::kAllMetrics) {
            for (const Bounds bounds : {Bounds::Equal, Bounds::True, Bounds::None}) {
                SCOPED_TRACE(testing::Message()
                             << "kind " << static_cast<int>(kind) << " metric "
                             << metric_name(metric) << " bounds " << static_cast<int>(bounds));
                const RerankCase input(backend, key_of(metric), kind, metric, bounds, random);
                for (const size_t k : {size_t{0}, size_t{1}, size_t{10}, size_t{500}}) {
                    for (const int threads : {1, 3}) {
                        const RerankCounts counts = expect_best(input, k, threads);
                        // Exact codes have no bounds to skip by, and all are asked for when k = 0.
                        const bool may_skip = bounds == Bounds::True && k != 0;
                        EXPECT_TRUE(may_skip || counts.skipped == 0) << counts.skipped;
                    }
                }
                if (HasFailure()) return;
            }
        }
    }
}

TEST_P(RerankTest, SkipsWhatIsBeaten) {
    Random random(42);
    const RerankCase input(backend, key_of(Metric::L2), CodeKind::Float32, Metric::L2, Bounds::True,
                           random);
    EXPECT_GT(expect_best(input, 1, 1).skipped, 100u);
}

// A bound that only equals the k-th key must not be skipped: the smaller id wins the tie.
TEST_P(RerankTest, KeepsTiesForTheSmallerId) {
    const std::vector<float> rows = {1, 1, 1, 1};
    const uint32_t* cell = reinterpret_cast<const uint32_t*>(rows.data());
    const float query = 0;
    RerankJob job;
    job.queries = {&query, 1, 1};
    job.code.dim = job.code.words = 1;
    job.cell_rows = {&cell, 1};
    job.k = 1;
    std::vector<std::vector<Candidate>> candidates(1);
    for (uint32_t slot = 0; slot < 4; ++slot)
        candidates[0].push_back(
            {1.0f + static_cast<float>(slot), 1.0f, 9 - int64_t{slot}, 0, slot});
    backend.rerank(job, candidates);
    ASSERT_EQ(candidates[0].size(), 1u);
    EXPECT_EQ(candidates[0][0].id, 6);
    EXPECT_EQ(candidates[0][0].slot, 3u);
}

INSTANTIATE_TEST_SUITE_P(Isa, RerankTest, testing::ValuesIn(runnable_tables()),
                         [](const auto& table) { return std::string(table.param->isa); });

}  // namespace
}  // namespace nearcell
