#include "contact_html.h"

#include <cstdint>
#include <span>

#include "number_text.h"

namespace nearcell::cli {
namespace {

constexpr const char* kStyle = R"css(
:root { color-scheme: light dark; --page: #f6f6f3; --card: #ffffff; --box: #ecece7;
  --text: #1d1f21; --soft: #63676c; --line: #dcdcd6; --mark: #2463c9; }
@media (prefers-color-scheme: dark) {
  :root { --page: #141618; --card: #1d2023; --box: #272b2f; --text: #e8e8e5; --soft: #9a9fa5;
    --line: #32373c; --mark: #7db0ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 100rem; padding: 1.5rem clamp(0.8rem, 3vw, 2.5rem) 3rem;
  background: var(--page); color: var(--text);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.5rem; font-weight: 650; margin: 0 0 0.8rem; }
dl { display: flex; flex-wrap: wrap; gap: 0.5rem 2rem; margin: 0 0 0.8rem; }
dt { color: var(--soft); font-size: 0.8rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; }
p, details { color: var(--soft); margin: 0 0 0.5rem; }
details ul { margin: 0.3rem 0; overflow-wrap: anywhere; }
section { display: grid; grid-template-columns: 10.5rem 1fr; gap: 1.4rem; margin-top: 1.2rem;
  padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 0.7rem; }
ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.4rem, 1fr)); gap: 0.9rem;
  list-style: none; margin: 0; padding: 0; }
figure { margin: 0; min-width: 0; }
.box { display: flex; align-items: center; justify-content: center; aspect-ratio: 1;
  background: var(--box); border-radius: 0.45rem; overflow: hidden; }
.box img { max-width: 100%; max-height: 100%; width: auto; height: auto; }
.asked .box { outline: 3px solid var(--mark); outline-offset: 2px; }
figcaption { margin-top: 0.35rem; font-size: 0.8rem; line-height: 1.3; }
.score { display: flex; justify-content: space-between; font-variant-numeric: tabular-nums; }
.score b { font-weight: 650; }
.rank, .name { color: var(--soft); }
.asked figcaption { margin-top: 0.6rem; }
.asked .rank { color: var(--mark); font-weight: 650; }
.name { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
@media (max-width: 40rem) { section { grid-template-columns: 1fr; }
  .asked { max-width: 10.5rem; } ol { grid-template-columns: repeat(auto-fill, minmax(6rem, 1fr)); } }
@media print { section { break-inside: avoid; } }
)css";

std::string base64(std::span<const uint8_t> bytes) {
    constexpr const char* kDigits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (size_t i = 0; i < bytes.size(); i += 3) {
        uint32_t three = 0;
        for (size_t j = 0; j < 3; ++j)
            three = three << 8 | (i + j < bytes.size() ? bytes[i + j] : 0u);
        for (size_t j = 0; j < 4; ++j)
            text += i + j <= bytes.size() ? kDigits[three >> (18 - 6 * j) & 63] : '=';
    }
    return text;
}

// How many bytes the UTF-8 character at the start of `bytes` has; 0 when there is none, which is
// so for overlong forms, surrogates and numbers beyond U+10FFFF, too.
size_t character_bytes(std::string_view bytes) {
    const auto at = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
    const uint8_t first = at(0);
    if (first < 0x80) return 1;
    const size_t count = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || bytes.size() < count) return 0;
    for (size_t i = 1; i < count; ++i)
        if ((at(i) & 0xc0) != 0x80) return 0;
    const uint8_t second = at(1);
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
        (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) {
        return 0;
    }
    return count;
}

void add_figure(const SheetPicture& picture, std::string_view kind, const std::string& rank,
                const std::string& score, std::string& out) {
    const std::string path = html_text(picture.path), name = html_text(picture.name);
    out += "<figure";
    if (!kind.empty()) out.append(" class=\"").append(kind).append("\"");
    out += " title=\"" + path + "\"><div class=\"box\"><img alt=\"" + name + "\" width=\"" +
           std::to_string(picture.thumbnail.width) + "\" height=\"" +
           std::to_string(picture.thumbnail.height) + "\" src=\"data:image/jpeg;base64," +
           base64(picture.thumbnail.jpeg) + "\"></div>\n<figcaption><span class=\"score\">" +
           "<span class=\"rank\">" + rank + "</span>";
    if (!score.empty()) out += "<b>" + html_text(score) + "</b>";
    out += "</span><span class=\"name\">" + name + "</span></figcaption></figure>\n";
}

void add_query(const ContactSheet& sheet, const SheetQuery& query, std::string& out) {
    out += "<section>\n";
    add_figure(sheet.pictures[query.picture], "asked", "query", "", out);
    out += "<ol>\n";
    for (size_t i = 0; i < query.neighbors.size(); ++i) {
        const SheetNeighbor& neighbor = query.neighbors[i];
        out += "<li>";
        add_figure(sheet.pictures[neighbor.picture], "", std::to_string(i + 1), neighbor.score,
                   out);
        out += "</li>\n";
    }
    out += "</ol>\n</section>\n";
}

void add_left_out(const ContactSheet& sheet, std::string& out) {
    if (sheet.left_out.empty()) return;
    out += "<details><summary>" + grouped_text(sheet.left_out.size()) +
           (sheet.left_out.size() == 1 ? " picture" : " pictures") +
           " could not be read</summary>\n<ul>\n";
    for (const std::string& reason : sheet.left_out)
        out += "<li>" + html_text(reason) + "</li>\n";
    out += "</ul></details>\n";
}

}  // namespace

std::string html_text(std::string_view bytes) {
    constexpr const char* kReplacement = "\xef\xbf\xbd";
    std::string text;
    while (!bytes.empty()) {
        const size_t count = character_bytes(bytes);
        const char c = bytes[0];
        switch (c) {
            case '&': text += "&amp;"; break;
            case '<': text += "&lt;"; break;
            case '>': text += "&gt;"; break;
            case '"': text += "&quot;"; break;
            case '\'': text += "&#39;"; break;
            default: {
                const bool control = static_cast<uint8_t>(c) < 0x20 || c == 0x7f;
                text += count == 0 || control ? kReplacement : bytes.substr(0, count);
            }
        }
        bytes.remove_prefix(count == 0 ? 1 : count);
    }
    return text;
}

std::string contact_html(const ContactSheet& sheet) {
    const std::string title = html_text(sheet.title);
    std::string out = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";
    out += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
           title + "</title>\n<style>" + kStyle + "</style>\n</head>\n<body>\n<h1>" + title +
           "</h1>\n<dl>\n";
    for (const auto& [name, value] : sheet.facts) {
        out += "<div><dt>" + html_text(name) + "</dt><dd>" + html_text(value) + "</dd></div>\n";
    }
    out += "</dl>\n<p>Scores: " + html_text(sheet.score_words) + "</p>\n";
    add_left_out(sheet, out);
    for (const SheetQuery& query : sheet.queries)
        add_query(sheet, query, out);
    out += "</body>\n</html>\n";
    return out;
}

}  // namespace nearcell::cli
