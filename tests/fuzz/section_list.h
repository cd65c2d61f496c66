// SectionList: a container as a short list of sections, without checksums and padding, so that
// every byte of an input is one that the reader of the sections looks at. First the number of
// sections; then of each its name (one byte, see kNames), element type (one), columns (two) and the
// data's bytes (four); then all data. Any bytes are a list: what is cut off counts as zero. Thread
// safe.
#pragma once

#include <string_view>

#include <nearcell/storage/container.h>

#include "fuzz_target.h"

namespace nearcell::fuzz {

Bytes section_list(const Container& container);
// A valid container of kind `kind` with these sections.
Bytes container_of(std::string_view kind, const uint8_t* list, size_t size);

// The container in `bytes` with checksums that fit, as far as its header and table make sense.
void repair_container(Bytes& bytes);

}  // namespace nearcell::fuzz
