// Text that a terminal shows and does not obey: paths and what files hold may contain any bytes.
// Control characters, those that turn the direction of text and bytes that are not UTF-8 become
// \xNN; everything else stays as it is.
// Cost: one pass. Pure; thread safe.
#pragma once

#include <string>
#include <string_view>

namespace nearcell::cli {

// `kept` is a control character that is meant: the end of a line, where there may be several.
std::string escaped(std::string_view text, char kept = '\0');

}  // namespace nearcell::cli
