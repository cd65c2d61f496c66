// Tuning as `build --tune-recall` and `tune` share it: checks the target, chooses an index string,
// tunes, reports what was tried. A target that nothing reaches is a warning; the best found is then
// kept.
#pragma once

#include <string>

#include <nearcell/index/choose_spec.h>
#include <nearcell/index/tune.h>
#include <nearcell/storage/vector_file.h>

#include "session.h"

namespace nearcell::cli {

// A cutoff that is infinite is none: null, "none".
Json cutoff_json(float cutoff);
std::string cutoff_text(float cutoff);

void check_recall_target(double recall);
// Returns the index string chosen; the session adds threads and progress to the options.
std::string choose_and_report(const Vectors& base, ChooseSpecOptions options, Session& session);
void tune_and_report(CellIndex& index, const Vectors& queries, const IdData& truth, double recall,
                     size_t k, Session& session);

}  // namespace nearcell::cli
