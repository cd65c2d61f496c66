// TopK: keeps the k best of the candidates pushed into it, in the total order (key, smaller id), so
// the outcome does not depend on the order of pushes or on how they were split over threads. A heap
// of k entries, the worst first: log k steps a push that enters, and a threshold that is always the
// k-th best key so far. Not thread safe: one per query and thread, merged at the end.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace nearcell {

// A stored vector that may be a neighbour.
struct Candidate {
    float key = 0;    // smaller is nearer
    float lower = 0;  // no exact key of this vector is expected below; equals key for exact codes
    int64_t id = -1;
    uint32_t cell = 0;
    uint32_t slot = 0;
};

// An object, not a function: algorithms inline its call.
constexpr auto nearer = [](const Candidate& a, const Candidate& b) {
    return a.key < b.key || (a.key == b.key && a.id < b.id);
};

class TopK {
   public:
    explicit TopK(size_t k = 1) { reset(k); }

    void reset(size_t k) {
        k_ = k;
        threshold_ = std::numeric_limits<float>::infinity();
        entries_.clear();
    }
    // Candidates with a larger key cannot enter; one with an equal key may, by its id.
    float threshold() const { return threshold_; }
    size_t k() const { return k_; }

    void push(const Candidate& candidate) {
        if (!(candidate.key <= threshold_)) return;
        if (entries_.size() < k_) {
            if (entries_.empty()) entries_.reserve(k_ < kFew ? k_ : kFew);
            entries_.push_back(candidate);
            if (entries_.size() == k_) {
                std::make_heap(entries_.begin(), entries_.end(), nearer);
                threshold_ = entries_.front().key;
            }
        } else if (k_ != 0 && nearer(candidate, entries_.front())) {
            replace_worst(candidate);
            threshold_ = entries_.front().key;
        }
    }
    void merge(const TopK& other) {
        for (const Candidate& candidate : other.entries_)
            push(candidate);
    }
    // The k best, best first.
    const std::vector<Candidate>& sorted() {
        std::sort(entries_.begin(), entries_.end(), nearer);
        return entries_;
    }

   private:
    // Puts the candidate into the heap in the place of its worst entry, the first.
    void replace_worst(const Candidate& candidate) {
        size_t place = 0;
        for (size_t child = 1; child < k_; child = 2 * place + 1) {
            if (child + 1 < k_ && nearer(entries_[child], entries_[child + 1])) ++child;
            if (!nearer(candidate, entries_[child])) break;
            entries_[place] = entries_[child];
            place = child;
        }
        entries_[place] = candidate;
    }

    static constexpr size_t kFew = 64;  // entries that are given room at once

    size_t k_ = 1;
    float threshold_ = 0;
    std::vector<Candidate> entries_;
};

}  // namespace nearcell
