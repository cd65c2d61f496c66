// Tuning as `build --tune-recall` and `tune` share it: checks the target, tunes, reports what was
// tried. A target that no setting reaches is a warning; the index then keeps the best setting
// found.
#pragma once

#include <string>

#include <nearcell/index/tune.h>
#include <nearcell/storage/vector_file.h>

#include "session.h"

namespace nearcell::cli {

// A cutoff that is infinite is none: null, "none".
Json cutoff_json(float cutoff);
std::string cutoff_text(float cutoff);

void check_recall_target(double recall);
void tune_and_report(CellIndex& index, const Vectors& queries, const IdData& truth, double recall,
                     size_t k, Session& session);

}  // namespace nearcell::cli
