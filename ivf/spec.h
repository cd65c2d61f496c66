// The factory string of assembled options: the inverse of index/factory.h's parse_spec.
#pragma once

#include <string>

#include <nearcell/ivf/cell_index.h>

namespace nearcell {

// parse_spec(format_spec(options)) gives the same parts again. "PCA64,IVF1024,PQ16,RFlat".
std::string format_spec(const CellIndexOptions& options);

}  // namespace nearcell
