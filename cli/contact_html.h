// The contact sheet as one HTML file that needs no other: thumbnails are within it, and it reads
// well on light and on dark screens, narrow ones too.
#pragma once

#include <string>
#include <string_view>

#include "contact_sheet.h"

namespace nearcell::cli {

std::string contact_html(const ContactSheet& sheet);

// Text for HTML, in a quoted attribute too. What is not UTF-8, and control characters, become
// U+FFFD.
std::string html_text(std::string_view bytes);

}  // namespace nearcell::cli
