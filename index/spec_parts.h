// Spec parts: the words of index strings, as one table of patterns: what each adds to the options,
// or, for words of Faiss that nearcell does not build, what comes near. The order of parts in a
// string is factory.cpp's business. Immutable; safe to share by threads.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include <nearcell/ivf/cell_index.h>

namespace nearcell {

// What a part is for. The parts of a string come in this order; IdMap is allowed around the others.
enum class PartRole { Transform, Cells, Code, Rerank, IdMap };

// The numbers of a part as written: "OPQ16_64" has 16 and 64. Absent ones are 0.
using PartNumbers = std::array<size_t, 2>;

struct SpecPart {
    std::string_view pattern;  // '#' stands for a number, everything else for itself
    PartRole role;
    // Adds the part to the options; throws InvalidArgument when its numbers are impossible.
    void (*apply)(const PartNumbers& numbers, CellIndexOptions& options);
};

struct PartMatch {
    const SpecPart* part = nullptr;  // null: no part is written like this
    PartNumbers numbers{};
};

PartMatch match_part(std::string_view token);

// What a token that match_part does not know may have meant: the end of an error message.
std::string explain_unknown(std::string_view token);

}  // namespace nearcell
