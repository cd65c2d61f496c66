// The factory: index strings in Faiss's grammar, wherever the meaning is the same.
//   index     := {transform ","} core ["," rerank]
//   transform := PCA[W][R]<d> | OPQ<M>[_<d>] | RR[<d>] | L2norm
//   core      := [IVF<n>[k|M] ","] code                             k = 1024, M = 1024 * 1024
//   code      := Flat | SQ8 | SQfp16 | SQbf16 | I8 | PQ<M>[x8|x4][np] | PQ<M>x4fs[r][_<batch>]
//              | RaBitQ[<bits>] | RaBitQfs[<bits>][_<batch>] | SQ8nr | SQfp16nr | SQbf16nr |
//              PQ<M>nr
//   rerank    := RFlat | Refine(Flat | SQ8 | SQfp16 | SQbf16)
// Codes in cells are of residuals, except Flat, PQ<M>x4fs and those with nr. RaBitQ brings a random
// rotation unless RR or OPQ stands before it. A PCA brings an L2norm where the metric is cosine, so
// that cosines of the components are compared; files that were saved without keep what they have.
// Only I8, nr and that L2norm are not Faiss's. np and <batch> change nothing, nor do IDMap and
// IDMap2: every index keeps ids. Spaces around commas are allowed.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <nearcell/ivf/cell_index.h>

namespace nearcell {

struct IndexOptions {
    size_t dim = 0;
    Metric metric = Metric::L2;
    uint64_t seed = 1234;
};

// Throws InvalidArgument naming the token, its position and the nearest valid one, and saying so
// when the token is known to Faiss but not built here; Unsupported for what the metric cannot do.
CellIndexOptions parse_spec(std::string_view spec, const IndexOptions& options);
std::unique_ptr<CellIndex> make_index(std::string_view spec, const IndexOptions& options);

}  // namespace nearcell
