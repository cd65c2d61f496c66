// Asks for the memory of a row that will be read soon.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace nearcell {

inline void prefetch_row(const uint32_t* row, size_t words) {
    const char* bytes = reinterpret_cast<const char*>(row);
    for (size_t b = 0; b < std::min<size_t>(words * 4, 1024); b += 64) {
        __builtin_prefetch(bytes + b);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);  // else g++ 12 keeps only one of them
    }
}

}  // namespace nearcell
