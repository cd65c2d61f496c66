#include <nearcell/ivf/id_map.h>

#include <utility>

namespace nearcell {

size_t IdMap::position(int64_t id) const {
    uint64_t h = static_cast<uint64_t>(id) * 0x9e3779b97f4a7c15ull;
    return (h ^ (h >> 32)) & (entries_.size() - 1);
}

void IdMap::reserve(size_t count) {
    size_t capacity = 16;
    while (capacity * 2 < count * 3)
        capacity *= 2;
    if (capacity <= entries_.size() && used_ == size_) return;
    if (capacity < entries_.size()) capacity = entries_.size();
    std::vector<Entry> old(capacity);
    old.swap(entries_);
    used_ = size_ = 0;
    for (const Entry& entry : old) {
        if (entry.id >= 0) set(entry.id, entry.location);
    }
}

const Location* IdMap::find(int64_t id) const {
    if (entries_.empty() || id < 0) return nullptr;
    for (size_t i = position(id);; i = (i + 1) & (entries_.size() - 1)) {
        if (entries_[i].id == id) return &entries_[i].location;
        if (entries_[i].id == kEmpty) return nullptr;
    }
}

void IdMap::set(int64_t id, Location location) {
    if (const Location* found = find(id)) {
        *const_cast<Location*>(found) = location;
        return;
    }
    if ((used_ + 1) * 3 > entries_.size() * 2) reserve((size_ + 1) * 2);
    size_t i = position(id);
    while (entries_[i].id >= 0)
        i = (i + 1) & (entries_.size() - 1);
    if (entries_[i].id == kEmpty) ++used_;
    entries_[i] = {id, location};
    ++size_;
}

void IdMap::erase(int64_t id) {
    const Location* found = find(id);
    if (found == nullptr) return;
    for (size_t i = position(id);; i = (i + 1) & (entries_.size() - 1)) {
        if (entries_[i].id != id) continue;
        entries_[i].id = kErased;
        if (--size_ == 0) *this = IdMap();
        return;
    }
}

}  // namespace nearcell
