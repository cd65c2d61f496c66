#include "escaped.h"

#include <cstdint>

namespace nearcell::cli {
namespace {

// Bytes of the character that begins `text`; 0 when it is no UTF-8.
size_t character_bytes(std::string_view text) {
    const auto lead = static_cast<unsigned char>(text[0]);
    const size_t bytes = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (lead > 0xf4 || bytes > text.size()) return 0;
    for (size_t i = 1; i < bytes; ++i)
        if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return 0;
    if (bytes < 3) return bytes;
    // What fewer bytes say, surrogates, and what is past the last character.
    const auto second = static_cast<unsigned char>(text[1]);
    const bool is_one = lead == 0xe0   ? second >= 0xa0
                        : lead == 0xed ? second < 0xa0
                        : lead == 0xf0 ? second >= 0x90
                                       : lead != 0xf4 || second < 0x90;
    return is_one ? bytes : 0;
}

uint32_t code_point(std::string_view character) {
    const auto lead = static_cast<unsigned char>(character[0]);
    uint32_t code = character.size() == 1 ? lead : lead & (0x7fu >> character.size());
    for (const char c : character.substr(1))
        code = code << 6 | (static_cast<unsigned char>(c) & 0x3fu);
    return code;
}

// Control characters, and those that choose the direction of text: "a<U+202E>gpj.exe" looks like
// "aexe.jpg".
bool is_obeyed(uint32_t code) {
    return code < ' ' || (code >= 0x7f && code < 0xa0) || code == 0x061c || code == 0x200e ||
           code == 0x200f || (code >= 0x202a && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

}  // namespace

std::string escaped(std::string_view text, char kept) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string shown;
    while (!text.empty()) {
        const size_t found = character_bytes(text);
        const std::string_view character = text.substr(0, found == 0 ? 1 : found);
        const bool harmless = found > 0 && !is_obeyed(code_point(character));
        if (harmless || (kept != '\0' && character[0] == kept)) {
            shown += character;
        } else {
            for (const char c : character) {
                const auto byte = static_cast<unsigned char>(c);
                shown += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
            }
        }
        text.remove_prefix(character.size());
    }
    return shown;
}

}  // namespace nearcell::cli
