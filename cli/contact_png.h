// The contact sheet as one picture: a line a query, the query framed at its left, below each
// neighbour its rank and its score. Names are for the HTML.
#pragma once

#include <nearcell/extract/image.h>

#include "contact_sheet.h"

namespace nearcell::cli {

// Throws InvalidArgument when the picture would be larger than pictures may be.
void check_png_size(size_t queries, size_t neighbors);
Image contact_png(const ContactSheet& sheet);

}  // namespace nearcell::cli
