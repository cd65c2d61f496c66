// Spec: the rules that assembled options obey, and their factory string, the inverse of parse_spec
// in index/factory.h. Stateless; cost: a few comparisons.
#pragma once

#include <string>

#include <nearcell/ivf/cell_index.h>

namespace nearcell {

constexpr size_t kMaxDim = 65536;
constexpr size_t kMaxCells = size_t{1} << 24;
constexpr size_t kMaxTransforms = 16;

// The dimension that cells and codes see: after all transforms.
size_t transformed_dim(const CellIndexOptions& options);

// Throws InvalidArgument for a value out of its range and Unsupported for a metric that a part
// cannot serve; the message names the option, its value, the limit and the remedy. Enumerators may
// come from a file: unknown ones are refused.
void check_options(const CellIndexOptions& options);

// parse_spec(format_spec(options)) gives the same parts again: "PCA64,IVF1024,PQ16,RFlat". What a
// string implies is left out: the rotation before RaBitQ, residual codes where they are the
// default. Of options that no string gave, such as those of a file that says cosine and has no
// L2norm behind its PCA, it may give others: here one that has it.
std::string format_spec(const CellIndexOptions& options);

}  // namespace nearcell
