#include "escaped.h"

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

// Of these, U+0080 to U+009F are control characters, too.
bool is_control(std::string_view character) {
    const auto first = static_cast<unsigned char>(character[0]);
    if (character.size() == 1) return first < ' ' || first == 127;
    return first == 0xc2 && static_cast<unsigned char>(character[1]) < 0xa0;
}

}  // namespace

std::string escaped(std::string_view text, char kept) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string shown;
    while (!text.empty()) {
        const size_t found = character_bytes(text);
        const std::string_view character = text.substr(0, found == 0 ? 1 : found);
        const bool harmless = found > 0 && !is_control(character);
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
