// IdMap: from a vector's id to where it is stored. Open addressing with linear probing, at most two
// thirds full: 16 to 48 bytes an id. Not thread safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nearcell {

struct Location {
    uint32_t cell = 0;
    uint32_t slot = 0;
};

class IdMap {
   public:
    size_t size() const { return size_; }
    size_t memory_bytes() const { return entries_.capacity() * sizeof(Entry); }
    // Makes room for `count` ids, so that set() does not allocate until there are more.
    void reserve(size_t count);
    const Location* find(int64_t id) const;  // null when absent
    void set(int64_t id, Location location);
    void erase(int64_t id);

   private:
    struct Entry {
        int64_t id = kEmpty;
        Location location;
    };
    static constexpr int64_t kEmpty = -1;  // stored ids are never negative
    static constexpr int64_t kErased = -2;

    size_t position(int64_t id) const;
    std::vector<Entry> entries_;  // a power of two
    size_t size_ = 0;
    size_t used_ = 0;  // with erased ones
};

}  // namespace nearcell
