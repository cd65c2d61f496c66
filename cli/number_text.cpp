#include "number_text.h"

#include <cmath>
#include <cstdio>

namespace nearcell::cli {
namespace {

// Three significant digits: 1.23, 12.3, 123.
std::string three_digits(double value) {
    const double size = std::fabs(value);
    return fixed_text(value, size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
}

}  // namespace

std::string fixed_text(double value, int decimals) {
    char text[64];
    std::snprintf(text, sizeof text, "%.*f", decimals, value);
    return text;
}

std::string count_text(double value) {
    if (value < 999.5) {
        return value == std::floor(value) ? fixed_text(value, 0) : three_digits(value);
    }
    constexpr const char* kUnits[] = {" k", " M", " G", " T"};
    size_t unit = 0;
    for (value /= 1e3; value >= 999.5 && unit < 3; ++unit)
        value /= 1e3;
    return three_digits(value) + kUnits[unit];
}

std::string bytes_text(double bytes) {
    if (bytes < 1024) {
        return (bytes == std::floor(bytes) ? fixed_text(bytes, 0) : three_digits(bytes)) + " B";
    }
    constexpr const char* kUnits[] = {" KiB", " MiB", " GiB", " TiB"};
    size_t unit = 0;
    for (bytes /= 1024; bytes >= 1024 && unit < 3; ++unit)
        bytes /= 1024;
    return three_digits(bytes) + kUnits[unit];
}

std::string seconds_text(double seconds) {
    if (seconds < 0.9995e-3) return three_digits(seconds * 1e6) + " us";
    if (seconds < 0.9995) return three_digits(seconds * 1e3) + " ms";
    if (seconds < 99.95) return three_digits(seconds) + " s";
    const auto whole = static_cast<long>(std::lround(seconds));
    char text[64];
    if (whole < 3600) {
        std::snprintf(text, sizeof text, "%ld min %02ld s", whole / 60, whole % 60);
    } else {
        std::snprintf(text, sizeof text, "%ld h %02ld min", whole / 3600, whole / 60 % 60);
    }
    return text;
}

std::string grouped_text(uint64_t value) {
    std::string text = std::to_string(value);
    for (size_t end = text.size(); end > 3; end -= 3)
        text.insert(end - 3, 1, ',');
    return text;
}

}  // namespace nearcell::cli
