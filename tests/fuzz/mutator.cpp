#include "mutator.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

namespace nearcell::fuzz {
namespace {

ptrdiff_t at(size_t index) { return static_cast<ptrdiff_t>(index); }

Bytes cut(const Bytes& bytes, size_t from, size_t count) {
    return {bytes.begin() + at(from), bytes.begin() + at(from + count)};
}

void put(Bytes& bytes, size_t where, const Bytes& fresh) {
    bytes.insert(bytes.begin() + at(where), fresh.begin(), fresh.end());
}

// Where arithmetic of sizes goes wrong: around 0, powers of two and the ends of the types.
uint64_t boundary(Random& random) {
    const uint64_t near = random.below(5) - 2;
    switch (random.below(4)) {
        case 0: return near;
        case 1: return (uint64_t{1} << random.below(64)) + near;
        case 2: return ~uint64_t{0} >> random.below(64);
        default: return std::bit_cast<uint64_t>(-(int64_t{1} << random.below(63))) + near;
    }
}

// Floats that comparisons and casts go wrong with.
uint32_t odd_float(Random& random) {
    using Limits = std::numeric_limits<float>;
    const float values[] = {0.0f,
                            -0.0f,
                            1.0f,
                            -1.0f,
                            Limits::max(),
                            Limits::min(),
                            Limits::lowest(),
                            Limits::infinity(),
                            1e-30f,
                            -Limits::infinity(),
                            Limits::quiet_NaN(),
                            1e30f};
    return std::bit_cast<uint32_t>(values[random.below(std::size(values))]);
}

}  // namespace

// Mostly short, as the fields of formats are.
size_t Mutator::piece(size_t most) {
    const size_t longest = std::min<size_t>(most, size_t{1} << random_.below(11));
    return random_.below(longest) + 1;
}

void Mutator::mutate(Bytes& bytes, const Bytes& other) {
    size_t changes = 1;
    while (changes < 8 && random_.below(2) == 0)
        ++changes;
    for (; changes > 0; --changes)
        change(bytes, other);
    if (bytes.size() > longest_) bytes.resize(longest_);
}

void Mutator::change(Bytes& bytes, const Bytes& other) {
    if (bytes.empty()) return insert(bytes);
    switch (random_.below(16)) {
        case 0:
        case 1:
        case 2: return flip_bit(bytes);
        case 3:
        case 4:
        case 5: return set_byte(bytes);
        case 6:
        case 7:
        case 8:
        case 9: return set_number(bytes);
        case 10: return insert(bytes);
        case 11: return erase(bytes);
        case 12: return duplicate(bytes);
        case 13: return move(bytes);
        case 14: return overwrite(bytes, other);
        default: return splice(bytes, other);
    }
}

void Mutator::flip_bit(Bytes& bytes) {
    bytes[random_.below(bytes.size())] ^= static_cast<uint8_t>(1u << random_.below(8));
}

void Mutator::set_byte(Bytes& bytes) {
    constexpr uint8_t kOdd[] = {0, 1, 0x7f, 0x80, 0xfe, 0xff, '0', '9'};
    uint8_t& byte = bytes[random_.below(bytes.size())];
    switch (random_.below(3)) {
        case 0: byte = kOdd[random_.below(std::size(kOdd))]; break;
        case 1: byte = static_cast<uint8_t>(byte + random_.below(33) - 16); break;
        default: byte = static_cast<uint8_t>(random_.next()); break;
    }
}

// Two, four or eight bytes, little or big endian: a boundary, another number, or a step from it.
void Mutator::set_number(Bytes& bytes) {
    const size_t width = size_t{2} << random_.below(3);
    if (bytes.size() < width) return set_byte(bytes);
    uint8_t* const place = bytes.data() + random_.below(bytes.size() - width + 1);
    const bool big = random_.below(2) == 0;
    uint8_t number[8] = {};
    std::memcpy(number, place, width);
    if (big) std::reverse(number, number + width);
    auto value = std::bit_cast<uint64_t>(number);
    switch (random_.below(4)) {
        case 0: value += random_.below(33) - 16; break;
        case 1: value = width == 4 ? odd_float(random_) : random_.below(257); break;
        default: value = boundary(random_); break;
    }
    std::memcpy(number, &value, sizeof number);
    if (big) std::reverse(number, number + width);
    std::memcpy(place, number, width);
}

void Mutator::insert(Bytes& bytes) {
    Bytes fresh(piece(64));
    const bool same = random_.below(2) == 0;
    const auto filling = static_cast<uint8_t>(random_.next());
    for (uint8_t& byte : fresh)
        byte = same ? filling : static_cast<uint8_t>(random_.next());
    put(bytes, position(bytes), fresh);
}

void Mutator::erase(Bytes& bytes) {
    const size_t from = random_.below(bytes.size());
    // One in eight is a truncation.
    const size_t count = random_.below(8) == 0 ? bytes.size() - from : piece(bytes.size() - from);
    bytes.erase(bytes.begin() + at(from), bytes.begin() + at(from + count));
}

void Mutator::duplicate(Bytes& bytes) {
    const size_t from = random_.below(bytes.size());
    put(bytes, position(bytes), cut(bytes, from, piece(bytes.size() - from)));
}

void Mutator::move(Bytes& bytes) {
    const size_t from = random_.below(bytes.size());
    const Bytes taken = cut(bytes, from, piece(bytes.size() - from));
    bytes.erase(bytes.begin() + at(from), bytes.begin() + at(from + taken.size()));
    put(bytes, position(bytes), taken);
}

// The start of one and the end of the other.
void Mutator::splice(Bytes& bytes, const Bytes& other) {
    const size_t from = random_.below(other.size() + 1);
    bytes.resize(random_.below(2) == 0 ? std::min(from, bytes.size()) : position(bytes));
    put(bytes, bytes.size(), cut(other, from, other.size() - from));
}

// A piece of the other, in place of bytes or between them.
void Mutator::overwrite(Bytes& bytes, const Bytes& other) {
    if (other.empty()) return;
    const size_t from = random_.below(other.size());
    const Bytes taken = cut(other, from, piece(other.size() - from));
    const size_t where = position(bytes);
    if (random_.below(2) == 0) return put(bytes, where, taken);
    const size_t count = std::min(taken.size(), bytes.size() - where);
    std::copy_n(taken.begin(), count, bytes.begin() + at(where));
}

}  // namespace nearcell::fuzz
