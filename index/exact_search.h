// Exact search: the true neighbours, by scanning every row in float32 and scoring the nearest again
// in float64, or all rows, for queries of which the roundings of float32 leave it open whether the
// scan kept the nearest. What recall is measured against. Rows of any element type are read a few
// MiB at a time, so a mapped file of any size will do. Cost: queries x rows x dim multiply-adds, on
// all threads. Safe from any number of threads.
#pragma once

#include <cstddef>

#include <nearcell/core/metric.h>
#include <nearcell/core/progress.h>
#include <nearcell/core/search_result.h>
#include <nearcell/core/vectors.h>

namespace nearcell {

// Ids are row numbers of base. The same bits for any number of threads. Throws InvalidArgument
// (k = 0, different dimensions), NonFinite, Cancelled.
SearchResult exact_search(const Vectors& base, const Vectors& queries, Metric metric, size_t k,
                          int threads, const Progress& progress = {});

}  // namespace nearcell
