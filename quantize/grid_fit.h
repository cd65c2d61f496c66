// GridFit: the vector of half-integers u, |u_j| <= 2^(bits-1) - 1/2, whose direction is nearly that
// of x: u_j = sign(x_j) (min(floor(t |x_j|), 2^(bits-1) - 1) + 1/2) for the best stretch t of a
// fixed set, coarse first, then fine around the best. Within 0.1 % of the best cosine there is. A
// vector that lies on the grid already is found exactly, and u is reduced to lowest terms, so that
// fitting a decoded vector gives the same u. Cost: 40 dim steps of eight operations. Not thread
// safe: one each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nearcell {

class GridFit {
   public:
    GridFit(size_t dim, size_t bits) : top_((1 << (bits - 1)) - 1), unit_(dim), levels_(dim) {}

    // The levels |u_j| - 1/2 for x, valid until the next call. All 0 for a zero vector.
    const std::vector<uint8_t>& fit(const float* x);
    const std::vector<uint8_t>& levels() const { return levels_; }

   private:
    bool find_on_grid();
    float searched_stretch() const;
    void set_levels(float stretch);
    void reduce();

    int top_;                  // the highest level
    std::vector<float> unit_;  // |x_j| / max |x|
    std::vector<uint8_t> levels_;
};

}  // namespace nearcell
