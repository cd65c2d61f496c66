// Mutator: changes inputs as damage and enemies do. What it does depends on its seed and on the
// inputs that it was given only. Not thread safe.
#pragma once

#include <nearcell/core/random.h>

#include "fuzz_target.h"

namespace nearcell::fuzz {

class Mutator {
   public:
    Mutator(uint64_t seed, size_t longest) : random_(seed), longest_(longest) {}

    // One to about eight changes of `bytes`; `other` is what pieces are taken from.
    void mutate(Bytes& bytes, const Bytes& other);
    Random& random() { return random_; }

   private:
    size_t position(const Bytes& bytes) { return random_.below(bytes.size() + 1); }
    size_t piece(size_t most);
    void change(Bytes& bytes, const Bytes& other);
    void flip_bit(Bytes& bytes);
    void set_byte(Bytes& bytes);
    void set_number(Bytes& bytes);
    void insert(Bytes& bytes);
    void erase(Bytes& bytes);
    void duplicate(Bytes& bytes);
    void move(Bytes& bytes);
    void splice(Bytes& bytes, const Bytes& other);
    void overwrite(Bytes& bytes, const Bytes& other);

    Random random_;
    size_t longest_;
};

}  // namespace nearcell::fuzz
