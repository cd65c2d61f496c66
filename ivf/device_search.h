// Searches of an index that was moved to a device (CellIndex::to): the device holds a copy of its
// cells, made equal to them when the first search after a change comes. Internal.
#pragma once

#include <nearcell/ivf/index_state.h>
#include <nearcell/ivf/search_settings.h>

namespace nearcell {

struct RangeLimits {
    float key;   // what is found is below
    float scan;  // and so are its codes' keys, where a re-rank store decides
};

// Under the state's lock, shared or not. `result` has its arrays; stats are added.
void search_on_device(const CellIndex::State& state, const Vectors& queries,
                      const SearchOptions& options, const SearchSettings& settings,
                      SearchResult& result);
void range_search_on_device(const CellIndex::State& state, const Vectors& queries,
                            RangeLimits limits, const SearchOptions& options,
                            const SearchSettings& settings, RangeResult& result);

}  // namespace nearcell
