// The factory string of assembled options: the inverse of index/factory.h's parse_spec.
#pragma once

#include <string>

#include <nearcell/ivf/cell_index.h>

namespace nearcell {

// Throws InvalidArgument or Unsupported, naming the option, for combinations that cannot be built.
void check_options(const CellIndexOptions& options);

// parse_spec(format_spec(options)) gives the same parts again. "PCA64,IVF1024,PQ16,RFlat".
std::string format_spec(const CellIndexOptions& options);

}  // namespace nearcell
