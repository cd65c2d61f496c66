// The planner: decides how the loops of a scan go. Nothing else in the code knows whether a search
// runs cell-major over many queries or splits cells among threads. What a scan costs is measured,
// once an index, by the first call that leaves a choice, on its own queries: some milliseconds. The
// first such call of a process also measures the start of threads: some 40 milliseconds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>

#include <nearcell/kernels/backend.h>

namespace nearcell {

// Nanoseconds on this machine. The defaults are those of a slow one.
struct ScanCosts {
    double start = 20000;    // of having other threads take part, and waiting for them
    double query = 1000;     // of a query, whatever it scans
    double code = 2;         // of a code that one query scans...
    double shared_code = 1;  // ...and of one that many do, each
};

struct PlannedScan {
    ScanPlan loops;
    int threads = 1;
    double nanoseconds = 0;  // expected
};

// The fastest plan by these costs, of all threads or fewer. `codes` is about how many all queries
// together will look at; `threads` is resolved (>= 1).
PlannedScan plan_scan(size_t queries, uint64_t codes, int threads, const ScanCosts& costs = {});

// How many queries a batch may have. A call tells its progress, and can be cancelled, between its
// batches, so these take about a second; but many queries share what is read and decoded of a cell.
// `work` is about how many multiplications a query costs; `threads` is resolved.
size_t queries_per_batch(double work, int threads);

// For SearchStats: "cell-major, 2 tasks of 5000 queries, 34 ms expected" or "cells split in 2
// parts, 210 us expected".
std::string describe_plan(const PlannedScan& plan, size_t queries);

// The costs of one index. Safe to share by threads.
class MeasuredCosts {
   public:
    // What is known, after measuring what is not and this job, over so many vectors, can tell,
    // where it is worth it. What was measured over far fewer or more vectors is measured again.
    ScanCosts of(const Backend& backend, const ScanJob& job, size_t k, size_t vectors,
                 uint64_t codes, int threads);
    ScanCosts known();

   private:
    std::mutex mutex_;
    ScanCosts costs_;
    size_t vectors_ = 0;
    bool code_known_ = false, shared_known_ = false;
};

}  // namespace nearcell
