#include "stored_words.h"

#include <nearcell/core/random.h>

namespace nearcell::cli {

StoredWords::StoredWords(size_t bytes) : words_(bytes / sizeof(uint32_t)) {
    fill(bits_, words_.size());
}

uint32_t* StoredWords::with(WordBits bits, size_t bytes) {
    if (bits != bits_) fill(bits, bytes / sizeof(uint32_t));
    return words_.mutable_data();
}

// Denormals, which some processors are slow with, would be measured instead of the kernel: as
// bfloat16 and as the upper half of a float 0x3c00 to 0x3fff are 2^-7 to 2, as binary16 1 to 2.
void StoredWords::fill(WordBits bits, size_t count) {
    constexpr uint32_t kFree = 0x83ff83ffu, kExponent = 0x3c003c00u;
    Random random(1);
    uint32_t* words = words_.mutable_data();
    for (size_t i = 0; i < count; ++i) {
        const auto word = static_cast<uint32_t>(random.next());
        words[i] = bits == WordBits::Any ? word : (word & kFree) | kExponent;
    }
    bits_ = bits;
}

}  // namespace nearcell::cli
