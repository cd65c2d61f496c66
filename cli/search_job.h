// SearchJob: the results of a search that may take several runs of the command. They go to files
// OUT.part beside the outputs (result_file.h), and OUT.job, the journal, says which search they are
// of and how many queries are done; both are on the disk every few seconds. The same command goes
// on from there, after a kill or a power failure, too; another one is refused. The outputs appear
// at the end, and are those of a run that nothing stopped. HDF5 files cannot grow: theirs are
// copied at the end, through memory. Not thread safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nearcell/core/search_result.h>

#include "neighbor_output.h"
#include "result_file.h"
#include "stopwatch.h"

namespace nearcell::cli {

// What was done, in all runs together.
struct SearchTotals {
    uint64_t queries = 0, found = 0;
    SearchStats stats;
    double seconds = 0;  // in searches
};

// What makes a search this one and no other: names and values, as people read them.
using JobDescription = std::vector<std::pair<std::string, std::string>>;
// A file in a description: path, length, and when it was modified.
std::string described_file(const std::string& path);

struct SearchJobOptions {
    NeighborOutput output;
    size_t k = 10;
    uint64_t queries = 0;
    bool restart = false;     // what an earlier run left is overwritten
    double sync_seconds = 3;  // results are on the disk at least so often; 0: after each append
};

class SearchJob {
   public:
    // Whether there is a journal beside these outputs.
    static bool is_begun(const NeighborOutput& output);
    // Goes on where the journal ends, or begins. Throws InvalidArgument, naming the difference, for
    // a journal of another job; Io while another process writes the files.
    SearchJob(const SearchJobOptions& options, JobDescription description);

    // Queries whose results are kept.
    uint64_t done() const { return kept_.queries; }
    const SearchTotals& totals() const { return totals_; }

    void append(const SearchResult& result, double seconds);
    // All that was appended is kept.
    void sync();
    // The outputs are in place, and nothing is left beside them.
    void finish();
    // Nothing is left, and the old outputs are as they were.
    void discard();

   private:
    // True: there is one, and it is of this job.
    bool read_journal();
    void check_no_strangers() const;
    void open_outputs();
    void save_journal();
    void discard_outputs();

    SearchJobOptions options_;
    std::vector<ResultTarget> targets_;  // of scores, where these are wanted, and of ids
    JobDescription description_;
    std::string journal_;
    std::vector<std::unique_ptr<ResultFile>> outputs_;
    SearchTotals totals_, kept_;
    Stopwatch since_sync_;
};

}  // namespace nearcell::cli
