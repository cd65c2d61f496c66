#include <nearcell/ivf/planner.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <thread>
#include <vector>

#include <nearcell/core/parallel.h>

namespace nearcell {
namespace {

constexpr size_t kFewQueries = 8;    // a thread: below, threads may share queries instead
constexpr double kWorthwhile = 0.9;  // of the time without more threads
constexpr size_t kSingles = 8;       // queries that a code's cost is measured with
constexpr double kPatience = 5e6;    // nanoseconds after which a measurement is not repeated
// Queries that the cost of a code that many scan is measured with: as many as take so long, and not
// fewer than the least, of which a batch has to have many times as many if they take longer.
constexpr size_t kShared = 256, kLeastShared = 16, kManyShared = 16;
constexpr double kSharedPatience = 2e7;
constexpr double kBatchWork = 2e10;  // multiplications of a thread
constexpr size_t kLeastBatch = 256;
constexpr size_t kBatchQueries = 8192;  // bounds the memory of a call, whatever its size
constexpr size_t kOtherSize = 4;        // times as many vectors, or as few
constexpr int kRepetitions = 3;         // of which the least counts

template <class Body>
double nanoseconds_of(Body&& body) {
    const auto start = std::chrono::steady_clock::now();
    body();
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start)
        .count();
}

// What a code costs where `queries` share the scan.
double code_cost(const ScanCosts& costs, double queries) {
    return costs.shared_code + std::max(0.0, costs.code - costs.shared_code) / queries;
}

// The least of some runs of a job by one thread, and how many codes it scans.
struct Run {
    double nanoseconds = 0;
    double codes = 0;
};

Run timed_run(const Backend& backend, const ScanJob& whole, size_t first, size_t count,
              size_t probes, size_t k) {
    ScanJob job = whole;
    job.queries = whole.queries.slice(first, count);
    // Rows of probes lie as far apart as there are probes: of fewer, only one query has them.
    job.probes = whole.probes + first * whole.probe_count;
    if (whole.probe_keys != nullptr) job.probe_keys = whole.probe_keys + first * whole.probe_count;
    job.probe_count = probes;
    Refinement refine;
    if (whole.refine != nullptr) {
        refine = *whole.refine;
        refine.queries = whole.refine->queries.slice(first, count);
        job.refine = &refine;
    }
    job.threads = 1;
    job.plan = {job.queries.rows, 1};
    Run run;
    double total = 0;
    for (int i = 0; i < kRepetitions && total < kPatience; ++i) {
        std::vector<TopK> best(job.queries.rows, TopK(k));
        ScanCounts counts;
        const double taken = nanoseconds_of([&] { counts = backend.scan_cells(job, best); });
        run.nanoseconds = i == 0 ? taken : std::min(run.nanoseconds, taken);
        run.codes = static_cast<double>(counts.scanned);
        total += taken;
    }
    return run;
}

// Measured once a process and number of threads, which sleep between calls, as between those of a
// service: executors let them wait awake for a while.
double start_cost(int threads) {
    static std::mutex mutex;
    static std::map<int, double> known;
    const std::lock_guard lock(mutex);
    const auto found = known.find(threads);
    if (found != known.end()) return found->second;
    std::array<double, 5> taken;
    for (double& nanoseconds : taken) {
        std::this_thread::sleep_for(std::chrono::milliseconds(8));
        nanoseconds = nanoseconds_of(
            [&] { parallel_for(static_cast<size_t>(threads), threads, [](size_t, int) {}); });
    }
    std::sort(taken.begin(), taken.end());
    return known[threads] = taken[taken.size() / 2];
}

}  // namespace

PlannedScan plan_scan(size_t queries, uint64_t codes, int threads, const ScanCosts& costs) {
    if (queries == 0) return {};
    const double all = static_cast<double>(codes), n = static_cast<double>(queries);
    PlannedScan best{{queries, 1}, 1, n * costs.query + all * code_cost(costs, n)};
    const auto consider = [&](const PlannedScan& plan) {
        if (plan.nanoseconds < kWorthwhile * best.nanoseconds) best = plan;
    };
    for (int team = 2; team <= threads;
         team = team < threads ? std::min(2 * team, threads) : team + 1) {
        const size_t size = static_cast<size_t>(team);
        // Equal shares, as large as they can be: a cell's codes are read once for each.
        const size_t share = (queries + size - 1) / size;
        const double part = static_cast<double>(share);
        if (queries > 1) {
            consider({{share, 1},
                      team,
                      costs.start + part * costs.query + all * part / n * code_cost(costs, part)});
        }
        if (queries < kFewQueries * size) {
            consider({{queries, size},
                      team,
                      costs.start + n * costs.query +
                          all / static_cast<double>(team) * code_cost(costs, n)});
        }
    }
    return best;
}

size_t queries_per_batch(double work, int threads) {
    const double queries = kBatchWork * threads / std::max(work, 1.0);
    return queries < static_cast<double>(kBatchQueries)
               ? std::max(kLeastBatch, static_cast<size_t>(queries))
               : kBatchQueries;
}

std::string describe_plan(const PlannedScan& plan, size_t queries) {
    std::string text;
    if (plan.loops.splits > 1) {
        text = "cells split in " + std::to_string(plan.loops.splits) + " parts";
    } else {
        const size_t per_task = plan.loops.queries_per_task;
        const size_t tasks = (queries + per_task - 1) / per_task;
        text = "cell-major, " + std::to_string(tasks) + " tasks of " + std::to_string(per_task) +
               " queries";
    }
    // Whole numbers: every call makes this text.
    const bool is_long = plan.nanoseconds >= 1e7;
    const double expected = plan.nanoseconds / (is_long ? 1e6 : 1e3);
    return text + ", " + std::to_string(static_cast<uint64_t>(expected + 0.5)) +
           (is_long ? " ms expected" : " us expected");
}

ScanCosts MeasuredCosts::known() {
    const std::lock_guard lock(mutex_);
    return costs_;
}

ScanCosts MeasuredCosts::of(const Backend& backend, const ScanJob& job, size_t k, size_t vectors,
                            uint64_t codes, int threads) {
    if (threads < 2 || job.queries.rows == 0 || job.probe_count == 0) return {};
    if (plan_scan(job.queries.rows, codes, 1).nanoseconds < ScanCosts().start) return {};
    const std::lock_guard lock(mutex_);
    if (vectors > kOtherSize * vectors_ || vectors * kOtherSize < vectors_) {
        code_known_ = shared_known_ = false;
        vectors_ = vectors;
    }
    costs_.start = start_cost(threads);
    if (!code_known_) {
        Run all, half;
        size_t q = 0;
        while (q < std::min(kSingles, job.queries.rows) && all.nanoseconds < kPatience) {
            const Run run = timed_run(backend, job, q, 1, job.probe_count, k);
            all.nanoseconds += run.nanoseconds;
            all.codes += run.codes;
            const Run less = timed_run(backend, job, q, 1, (job.probe_count + 1) / 2, k);
            half.nanoseconds += less.nanoseconds;
            half.codes += less.codes;
            ++q;
        }
        if (all.codes > half.codes && all.nanoseconds > half.nanoseconds) {
            costs_.code = (all.nanoseconds - half.nanoseconds) / (all.codes - half.codes);
        } else if (all.codes > 0) {
            costs_.code = all.nanoseconds / all.codes;
        }
        const double counted = static_cast<double>(q);
        costs_.query = std::max(0.0, all.nanoseconds - costs_.code * all.codes) / counted;
        costs_.shared_code = std::min(costs_.shared_code, costs_.code);
        code_known_ = all.codes > 0;
    }
    const double alone = costs_.query + costs_.code * static_cast<double>(codes) /
                                            static_cast<double>(job.queries.rows);
    const size_t shared = std::clamp(static_cast<size_t>(kSharedPatience / std::max(alone, 1.0)),
                                     kLeastShared, kShared);
    const bool cheap = static_cast<double>(shared) * alone <= kSharedPatience;
    if (!shared_known_ && job.queries.rows >= (cheap ? shared : kManyShared * shared)) {
        const Run run = timed_run(backend, job, 0, shared, job.probe_count, k);
        const double rest = run.nanoseconds - static_cast<double>(shared) * costs_.query;
        if (run.codes > 0) costs_.shared_code = std::clamp(rest / run.codes, 0.01, costs_.code);
        shared_known_ = run.codes > 0;
    }
    return costs_;
}

}  // namespace nearcell
