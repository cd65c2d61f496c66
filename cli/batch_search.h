// BatchSearch: a query file of any length, searched batch by batch: while one batch is searched the
// next is read and the one before is written, each by a thread of its own. Memory: that of at most
// four batches of queries and four of results.
#pragma once

#include <cstddef>
#include <functional>

#include <nearcell/ivf/cell_index.h>

#include "vector_pieces.h"

namespace nearcell::cli {

struct BatchSearch {
    size_t total() const { return queries.info().rows; }

    const CellIndex& index;
    const VectorPieces& queries;
    size_t first = 0;      // the query to begin with
    size_t batch = 65536;  // queries at a time
    SearchOptions search;  // its progress is told of queries of the file
};

struct FoundBatch {
    SearchResult result;
    double seconds = 0;  // that the search took
};

// Calls `write` from another thread for each batch, in order; for an empty file once, so that the
// options are checked. A value that is not finite is named by file, row and column. When anything
// throws, Ctrl-C included, what was searched is still written (unless writing failed), and then it
// is thrown.
void search_in_batches(const BatchSearch& job, const std::function<void(FoundBatch)>& write);

}  // namespace nearcell::cli
