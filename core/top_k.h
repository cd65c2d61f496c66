// TopK: keeps the k best of the candidates pushed into it, in the total order (key, smaller id), so
// the outcome does not depend on the order of pushes or on how they were split over threads. A few
// are a heap, the worst first: log k steps a push that enters, and a threshold that is always the
// k-th best key so far. Many are a list with room for a quarter more, whose k best are selected
// when it is full, by counting instead of branching on each key; the threshold is that of the last
// selection. Not thread safe: one per query and thread, merged at the end.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
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
            if (entries_.size() == k_) start_threshold();
        } else if (k_ >= kMany) {
            entries_.push_back(candidate);
            if (entries_.size() >= k_ + k_ / 4) select_best();
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
        if (entries_.size() > k_) select_best();
        std::sort(entries_.begin(), entries_.end(), nearer);
        return entries_;
    }

   private:
    void start_threshold() {
        if (k_ >= kMany) {
            threshold_ = std::max_element(entries_.begin(), entries_.end(), nearer)->key;
        } else {
            std::make_heap(entries_.begin(), entries_.end(), nearer);
            threshold_ = entries_.front().key;
        }
    }
    // Of a list of more than k. The k-th smallest key is found by halving what it can be: counting
    // needs no branches that are mispredicted, and compilers make vectors of these loops.
    void select_best() {
        orders_.resize(entries_.size());
        for (size_t i = 0; i < entries_.size(); ++i)
            orders_[i] = order_of(entries_[i].key);
        int32_t low = std::numeric_limits<int32_t>::max(), high = order_of(threshold_);
        for (const int32_t order : orders_)
            low = order < low ? order : low;
        uint32_t count = 0;
        while (low < high) {  // the k-th lies in [low, high]
            const int32_t middle = std::midpoint(low, high);
            count = 0;
            for (const int32_t order : orders_)
                count += order <= middle ? 1u : 0u;
            (count >= k_ ? high : low) = count >= k_ ? middle : middle + 1;
            if (count == k_) break;
        }
        if (count != k_) return select_by_ids();
        int32_t worst = std::numeric_limits<int32_t>::min();
        size_t kept = 0;
        for (size_t i = 0; i < orders_.size(); ++i) {
            entries_[kept] = entries_[i];
            const bool keep = orders_[i] <= high;
            kept += keep ? 1 : 0;
            worst = keep && orders_[i] > worst ? orders_[i] : worst;
        }
        entries_.resize(k_);
        threshold_ = key_of(worst);
    }
    // Where equal keys leave it to the ids who is among the k best.
    void select_by_ids() {
        const auto worst = entries_.begin() + static_cast<ptrdiff_t>(k_ - 1);
        std::nth_element(entries_.begin(), worst, entries_.end(), nearer);
        threshold_ = worst->key;
        entries_.resize(k_);
    }
    // Integers that are ordered as the floats are; -0 is made 0, which it equals.
    static int32_t order_of(float key) {
        const int32_t bits = std::bit_cast<int32_t>(key + 0.0f);
        return bits ^ ((bits >> 31) & 0x7fffffff);
    }
    static float key_of(int32_t order) {
        return std::bit_cast<float>(order ^ ((order >> 31) & 0x7fffffff));
    }
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

    static constexpr size_t kFew = 64;   // entries that are given room at once
    static constexpr size_t kMany = 32;  // from here on a list instead of a heap

    size_t k_ = 1;
    float threshold_ = 0;
    std::vector<Candidate> entries_;
    std::vector<int32_t> orders_;  // of the entries' keys
};

}  // namespace nearcell
