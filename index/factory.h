// The factory: index strings in Faiss's grammar, wherever the meaning is the same.
//   index     := {transform ","} core ["," rerank]
//   transform := PCA<d> | PCAW<d> | OPQ<M>[_<d>] | RR[<d>] | L2norm
//   core      := [IVF<n>[k|M] ","] code
//   code      := Flat | SQ8 | SQfp16 | SQbf16 | I8 | PQ<M>[x4|x8][np] | PQ<M>x4fs[r] | RaBitQ[1-8]
//   rerank    := RFlat | Refine(Flat | SQ8 | SQfp16 | SQbf16)
// IDMap and IDMap2 are accepted and change nothing: every index keeps ids. Spaces are allowed.
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

// Throws InvalidArgument naming the token, its position and the nearest valid one; says so when the
// token is known to Faiss but not built here.
CellIndexOptions parse_spec(std::string_view spec, const IndexOptions& options);
std::unique_ptr<CellIndex> make_index(std::string_view spec, const IndexOptions& options);

}  // namespace nearcell
