#include <nearcell/core/id_filter.h>

#include <algorithm>

#include <nearcell/core/error.h>

namespace nearcell {

IdFilter& IdFilter::operator=(IdFilter&& other) noexcept {
    const IdFilter moved(other), none;
    other = none;
    return *this = moved;
}

IdFilter IdFilter::bitset(std::span<const uint8_t> bytes) {
    IdFilter filter;
    filter.kind_ = Kind::Bitset;
    filter.bits_ = std::make_shared<const std::vector<uint8_t>>(bytes.begin(), bytes.end());
    for (const uint8_t byte : bytes)
        filter.count_ += static_cast<size_t>(__builtin_popcount(byte));
    return filter;
}

IdFilter IdFilter::range(int64_t first, int64_t last) {
    check(first <= last, StatusCode::InvalidArgument, "filter range [", first, ", ", last,
          ") ends before it starts: pass first <= last");
    IdFilter filter;
    filter.kind_ = Kind::Range;
    filter.first_ = first;
    filter.last_ = last;
    filter.count_ = static_cast<size_t>(static_cast<uint64_t>(last) - static_cast<uint64_t>(first));
    return filter;
}

IdFilter IdFilter::list(std::span<const int64_t> ids) {
    std::vector<int64_t> sorted(ids.begin(), ids.end());
    std::sort(sorted.begin(), sorted.end());
    sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
    IdFilter filter;
    filter.kind_ = Kind::List;
    filter.count_ = sorted.size();
    filter.ids_ = std::make_shared<const std::vector<int64_t>>(std::move(sorted));
    return filter;
}

IdFilter IdFilter::complement() const {
    IdFilter filter = *this;
    filter.negated_ = !negated_;
    return filter;
}

IdFilterRule IdFilter::rule() const {
    IdFilterRule rule;
    rule.kind = kind_;
    rule.negated = negated_;
    rule.first = first_;
    rule.last = last_;
    if (bits_) {
        rule.bits = bits_->data();
        rule.bit_bytes = bits_->size();
    }
    if (ids_) {
        rule.ids = ids_->data();
        rule.id_count = ids_->size();
    }
    return rule;
}

bool IdFilter::allows(int64_t id) const {
    bool listed = true;
    switch (kind_) {
        case Kind::All: break;
        case Kind::Bitset: {
            const size_t byte = static_cast<size_t>(id) / 8;
            listed = id >= 0 && byte < bits_->size() && (((*bits_)[byte] >> (id % 8)) & 1);
            break;
        }
        case Kind::Range: listed = id >= first_ && id < last_; break;
        case Kind::List: listed = std::binary_search(ids_->begin(), ids_->end(), id); break;
    }
    return listed != negated_;
}

size_t IdFilter::count_bound(size_t total) const {
    if (kind_ == Kind::All) return negated_ ? 0 : total;
    return negated_ ? total : std::min(total, count_);
}

uint16_t IdFilter::mask(const int64_t* ids, size_t count) const {
    unsigned bits = 0;
    for (size_t i = 0; i < count; ++i)
        bits |= static_cast<unsigned>(allows(ids[i])) << i;
    return static_cast<uint16_t>(bits);
}

}  // namespace nearcell
