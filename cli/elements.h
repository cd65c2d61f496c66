// Elements: vectors from one element type to another, refusing what would change values unasked:
// fractions or out-of-range values in integer types, overflow in half precision, integers that
// float32 cannot hold. Rounding to half precision is allowed: it is what the caller asked for.
#pragma once

#include <string>

#include <nearcell/core/progress.h>
#include <nearcell/storage/vector_file.h>

namespace nearcell::cli {

// Throw InvalidArgument naming row, column and value.
VectorData convert_elements(const Vectors& from, ElementType type, const Progress& progress);
VectorData vectors_from_ids(const IdData& ids, ElementType type, const Progress& progress);
IdData ids_from_vectors(const Vectors& from, const Progress& progress);

}  // namespace nearcell::cli
