// TopK: keeps the k best of the candidates pushed into it, in the total order (key, smaller id), so
// the outcome does not depend on the order of pushes or on how they were split over threads. A
// reservoir of about 2k entries, cut to k by selection when full: amortised constant time a push
// for any k. Not thread safe: one per query and thread, merged at the end.
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
        entries_.push_back(candidate);
        if (entries_.size() >= 2 * k_ + 16) cut();
    }
    void merge(const TopK& other) {
        for (const Candidate& candidate : other.entries_)
            push(candidate);
    }
    // Cuts to the k best seen so far, tightening the threshold.
    void cut() {
        if (k_ == 0) return entries_.clear();
        if (entries_.size() < k_) return;
        if (entries_.size() > k_) {
            std::nth_element(entries_.begin(), entries_.begin() + static_cast<ptrdiff_t>(k_ - 1),
                             entries_.end(), nearer);
            entries_.resize(k_);
            threshold_ = entries_.back().key;
        } else {
            threshold_ = std::max_element(entries_.begin(), entries_.end(), nearer)->key;
        }
    }
    // The k best, best first.
    const std::vector<Candidate>& sorted() {
        cut();
        std::sort(entries_.begin(), entries_.end(), nearer);
        return entries_;
    }

   private:
    size_t k_ = 1;
    float threshold_ = 0;
    std::vector<Candidate> entries_;
};

}  // namespace nearcell
