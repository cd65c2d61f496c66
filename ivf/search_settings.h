// SearchSettings: a search with nothing left to choose: what the options of a call and the defaults
// of its index come to, the same for every device. Internal.
#pragma once

#include <cstddef>

#include <nearcell/ivf/index_state.h>

namespace nearcell {

struct SearchSettings {
    size_t probes = 1;
    float cutoff = 0;
    size_t k = 1;              // no more than there are vectors: what is beyond is padding
    bool refine = false;       // codes that bound their error say themselves what to score again
    bool by_integers = false;  // scanned by bounds, see Refinement
    bool reranked = false;     // a number of candidates is scored again afterwards
    size_t depth = 1;          // that number, or k
};

// Throws what a search with bad arguments throws. Under the state's lock; default_probes is
// CellIndex::default_probes().
SearchSettings resolve_search(const CellIndex::State& state, const SearchOptions& options,
                              size_t default_probes);
// Dimension and values. (Of queries that lie on a device, these are checked there.)
void check_queries(const CellIndex::State& state, const Vectors& queries, int threads);

}  // namespace nearcell
