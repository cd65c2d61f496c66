// Lists of packed numbers of each query on a device, of any that a test likes, and what they hold.
#pragma once

#include "stored_case.h"

namespace nearcell::gpu {

using Candidate = std::pair<uint64_t, unsigned>;  // a packed number and a place
using Candidates = std::vector<Candidate>;

class KeyLists {
   public:
    // Of lists that are longer than `room`, its first ones are there.
    KeyLists(const std::vector<Candidates>& lists, size_t room)
        : queries_(lists.size()), room_(room), arrays_(arrays_of(lists, room)) {}
    CandidateLists lists() const {
        return {arrays_.counts.data(), arrays_.places.data(), arrays_.keys.data(), room_};
    }
    unsigned queries() const { return static_cast<unsigned>(queries_); }
    std::vector<unsigned> counts() const { return arrays_.counts.to_host(); }
    // What there is room for, as it lies.
    std::vector<Candidates> held() const {
        const std::vector<unsigned> counts = arrays_.counts.to_host();
        const std::vector<unsigned> places = arrays_.places.to_host();
        const std::vector<uint64_t> keys = arrays_.keys.to_host();
        std::vector<Candidates> result(queries_);
        for (size_t q = 0; q < queries_; ++q) {
            const size_t first = q * room_;
            for (size_t i = first; i < first + std::min<size_t>(counts[q], room_); ++i)
                result[q].push_back({keys[i], places[i]});
        }
        return result;
    }

   private:
    struct Arrays {
        DeviceArray<unsigned> counts, places;
        DeviceArray<uint64_t> keys;
    };
    static Arrays arrays_of(const std::vector<Candidates>& lists, size_t room) {
        std::vector<unsigned> counts, places(lists.size() * room, ~0u);
        std::vector<uint64_t> keys(places.size(), 1);
        for (size_t q = 0; q < lists.size(); ++q) {
            counts.push_back(static_cast<unsigned>(lists[q].size()));
            for (size_t i = 0; i < std::min(room, lists[q].size()); ++i) {
                keys[q * room + i] = lists[q][i].first;
                places[q * room + i] = lists[q][i].second;
            }
        }
        return {DeviceArray<unsigned>(counts), DeviceArray<unsigned>(places),
                DeviceArray<uint64_t>(keys)};
    }

    size_t queries_, room_;
    Arrays arrays_;
};

}  // namespace nearcell::gpu
