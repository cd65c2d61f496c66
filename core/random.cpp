#include <nearcell/core/random.h>

#include <algorithm>
#include <bit>
#include <numeric>
#include <unordered_set>

namespace nearcell {
namespace {

constexpr size_t kSparse = 1024;  // numbers for each that is drawn from which on no bitmap is made

// Fisher and Yates exchange the places i and partners[i] >= i for i = 0, 1, .... Which numbers come
// to lie in the first places follows from the exchanges in reverse order: from the set of these
// places each takes i and puts the partner, unless that is in the set already. (In this form the
// algorithm is Floyd's: Bentley and Floyd, A sample of brilliance, CACM 30(9), 1987.)
void exchange_bits(size_t total, std::vector<size_t>& partners) {
    std::vector<uint64_t> drawn((total + 63) / 64);
    std::fill_n(drawn.begin(), partners.size() / 64, ~uint64_t{0});
    for (size_t i = partners.size() / 64 * 64; i < partners.size(); ++i)
        drawn[i / 64] |= uint64_t{1} << (i % 64);
    for (size_t i = partners.size(); i-- > 0;) {  // no branches: nobody could foresee them
        uint64_t& word = drawn[partners[i] / 64];
        const uint64_t is_new = ~(word >> (partners[i] % 64)) & 1;
        word |= uint64_t{1} << (partners[i] % 64);
        drawn[i / 64] &= ~(is_new << (i % 64));
    }
    size_t* next = partners.data();
    for (size_t i = 0; i < drawn.size(); ++i) {
        for (uint64_t word = drawn[i]; word != 0; word &= word - 1)
            *next++ = i * 64 + static_cast<size_t>(std::countr_zero(word));
    }
}

void exchange_few(std::vector<size_t>& partners) {
    std::unordered_set<size_t> drawn(2 * partners.size());
    for (size_t i = 0; i < partners.size(); ++i)
        drawn.insert(i);
    for (size_t i = partners.size(); i-- > 0;) {
        if (drawn.insert(partners[i]).second) drawn.erase(i);
    }
    std::copy(drawn.begin(), drawn.end(), partners.begin());
    std::sort(partners.begin(), partners.end());
}

}  // namespace

std::vector<size_t> sorted_sample(size_t total, size_t count, Random& random) {
    std::vector<size_t> rows(count);
    std::iota(rows.begin(), rows.end(), size_t{0});
    if (count == total) return rows;
    for (size_t& row : rows)
        row += random.below(total - row);
    if (total / kSparse > count) {
        exchange_few(rows);
    } else {
        exchange_bits(total, rows);
    }
    return rows;
}

}  // namespace nearcell
