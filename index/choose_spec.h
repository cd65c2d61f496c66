// Choosing an index string by measuring: builds some indexes on a sample of the vectors, tunes each
// to a recall, and says which answers queries fastest. Use it when nothing better is known of the
// vectors; train an index of the string on all of them then, and tune() it, for the probes belong
// to the size. Cost: about the time allowed; in memory a copy of the sample, unless it is all of
// base, those of its indexes that may still win, and some 24 bytes a row. Speed is that of whole
// batches. The choice and the size of the sample follow measured times, so they may be others on
// another machine, or where two candidates are nearly equal; for the same sample, recalls and bytes
// are the same. Safe from any number of threads, but what runs beside it spoils what it measures.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nearcell/core/metric.h>
#include <nearcell/core/progress.h>
#include <nearcell/core/vectors.h>

namespace nearcell {

struct ChooseSpecOptions {
    Metric metric = Metric::L2;
    double recall = 0.95;  // in (0, 1]
    size_t k = 10;
    double seconds = 60;   // the first candidate is finished whatever it takes
    double max_bytes = 0;  // a vector, its id included; 0: no limit
    int threads = 0;
    uint64_t seed = 1234;
    std::optional<Vectors> queries = {};  // none: some rows of base are held out, see held_out.h
    Progress progress = {};
};

struct SpecTrial {
    std::string spec;       // for all of base; the sample's has fewer cells
    std::string not_tried;  // why; empty: it was tried
    bool reached = false;
    double recall = 0;              // of queries that it was not tuned with
    double queries_per_second = 0;  // the median of some rounds
    double bytes_per_vector = 0;
    double build_seconds = 0;
};

struct SpecChoice {
    std::string spec;
    bool reached = false;          // false: none tried reaches the recall, and spec comes nearest
    size_t sample_rows = 0;        // rows of base that the candidates were built on
    std::vector<SpecTrial> tried;  // all candidates, in the order of their promise
};

// The fastest candidate that reaches the recall; of those within 5 % of it the one of fewest bytes
// a vector. Half of the queries (at most 2,000 are used) tune, the others judge: a candidate
// reaches the recall when its tuning does, which aims higher by the sampling error, and the others
// miss it by no more than theirs. The sample is all rows where the time allows. Throws
// InvalidArgument (fewer than 20 rows; no candidate within the bytes), NonFinite, Cancelled.
SpecChoice choose_spec(const Vectors& base, const ChooseSpecOptions& options);

}  // namespace nearcell
