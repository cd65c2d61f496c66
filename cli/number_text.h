// Numbers as people read them: three significant digits and a unit.
#pragma once

#include <cstdint>
#include <string>

namespace nearcell::cli {

std::string count_text(double value);                // 950, 12.3 k, 4.56 M
std::string bytes_text(double bytes);                // 950 B, 12.3 KiB, 4.56 GiB
std::string seconds_text(double seconds);            // 4.56 ms, 12.3 s, 2 min 05 s
std::string fixed_text(double value, int decimals);  // 0.9870
std::string grouped_text(uint64_t value);            // 1,000,000

}  // namespace nearcell::cli
