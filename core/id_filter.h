// IdFilter: which ids a search may return: those in a bitset, in a range, or in a list, or all but
// those. Evaluated once per stored block, not once per query. Immutable; safe to share by threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace nearcell {

enum class IdFilterKind { All, Bitset, Range, List };

// What a filter says, as plain pointers, for kernels of any device.
struct IdFilterRule {
    IdFilterKind kind = IdFilterKind::All;
    bool negated = false;
    int64_t first = 0, last = 0;
    const uint8_t* bits = nullptr;
    size_t bit_bytes = 0;
    const int64_t* ids = nullptr;  // ascending
    size_t id_count = 0;
};

class IdFilter {
   public:
    IdFilter() = default;  // allows every id
    IdFilter(const IdFilter&) = default;
    IdFilter& operator=(const IdFilter&) = default;
    // What was moved from allows every id.
    IdFilter(IdFilter&& other) noexcept { *this = std::move(other); }
    IdFilter& operator=(IdFilter&& other) noexcept;
    ~IdFilter() = default;

    // Bit i of byte i / 8 (least significant first) allows id i; ids beyond the bytes are refused.
    static IdFilter bitset(std::span<const uint8_t> bytes);
    // Allows first <= id < last.
    static IdFilter range(int64_t first, int64_t last);
    // Allows the listed ids.
    static IdFilter list(std::span<const int64_t> ids);
    // The same ids the other way round.
    IdFilter complement() const;

    IdFilterRule rule() const;  // belongs to this object
    bool allows_all() const { return kind_ == Kind::All && !negated_; }
    bool allows(int64_t id) const;
    // An upper bound on how many of `total` stored ids pass, without looking at them.
    size_t count_bound(size_t total) const;
    // Bit i of the result is set when ids[i] passes; count <= 16.
    uint16_t mask(const int64_t* ids, size_t count) const;

   private:
    using Kind = IdFilterKind;
    Kind kind_ = Kind::All;
    bool negated_ = false;
    int64_t first_ = 0, last_ = 0;
    size_t count_ = 0;
    std::shared_ptr<const std::vector<uint8_t>> bits_;
    std::shared_ptr<const std::vector<int64_t>> ids_;  // sorted
};

}  // namespace nearcell
