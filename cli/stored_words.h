// StoredWords: the memory that kernels are measured on, as 32-bit words that serve as codes of
// every kind. One buffer as large as the largest reading; smaller ones are its beginning. Cost:
// filling it, about 0.2 s a 100 MiB. Not thread safe.
#pragma once

#include <cstddef>
#include <cstdint>

#include <nearcell/core/aligned_buffer.h>

namespace nearcell::cli {

enum class WordBits {
    Numbers,  // a word, and each of its halves, is an ordinary float of its format
    Any       // uniform bytes, for codes that are indices
};

class StoredWords {
   public:
    explicit StoredWords(size_t bytes);
    // The first `bytes`, with such bits in them.
    uint32_t* with(WordBits bits, size_t bytes);
    const uint32_t* data() const { return words_.data(); }
    size_t bytes() const { return words_.size() * sizeof(uint32_t); }

   private:
    void fill(WordBits bits, size_t count);
    AlignedBuffer<uint32_t> words_;
    WordBits bits_ = WordBits::Numbers;
};

}  // namespace nearcell::cli
