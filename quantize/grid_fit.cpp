#include <nearcell/quantize/grid_fit.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace nearcell {
namespace {

constexpr size_t kCoarse = 24;
constexpr size_t kFine = 16;

// The coarse stretches put the largest value at these parts of the grid's half. Above 1 values at
// the ends are cut off, which pays for few bits and long vectors, where the largest value is rare.
constexpr float kLeastPeak = 0.45f;
constexpr float kLargestPeak = 2.8f;

// How far from a half-integer a value may be on the grid: rounding leaves 128 x 2^-22 at most.
constexpr double kOnGrid = 1e-4;

// Four stretches tried side by side. The compiler's own vectors, since loops over arrays of sums
// are left in memory by g++ 12.
using Lanes = float __attribute__((vector_size(16)));
using IntLanes = int __attribute__((vector_size(16)));

// dot^2 / square is |x|^2 cos^2 for each of the stretches.
Lanes cosines(const std::vector<float>& unit, Lanes stretch, float top) {
    Lanes dot{}, square{};
    const Lanes limit = Lanes{} + top;
    for (float value : unit) {
        const IntLanes whole = __builtin_convertvector(stretch * value, IntLanes);
        const Lanes level = __builtin_convertvector(whole, Lanes);
        const Lanes u = (level < limit ? level : limit) + 0.5f;
        dot += u * value;
        square += u * u;
    }
    return dot * dot / square;
}

// The best of `count` stretches from `first` on, each `ratio` times the one before.
float best_stretch(const std::vector<float>& unit, int top, float first, float ratio,
                   size_t count) {
    const float square = ratio * ratio;
    Lanes stretch = {first, first * ratio, first * square, first * square * ratio};
    float best = -1, best_stretch = first;
    for (size_t i = 0; i < count; i += 4, stretch *= square * square) {
        const Lanes cosine = cosines(unit, stretch, static_cast<float>(top));
        for (size_t lane = 0; lane < 4; ++lane) {
            if (cosine[lane] > best) {
                best = cosine[lane];
                best_stretch = stretch[lane];
            }
        }
    }
    return best_stretch;
}

}  // namespace

const std::vector<uint8_t>& GridFit::fit(const float* x) {
    float largest = 0;
    for (size_t j = 0; j < unit_.size(); ++j)
        largest = std::max(largest, std::fabs(x[j]));
    if (top_ == 0 || largest == 0) {
        std::fill(levels_.begin(), levels_.end(), uint8_t{0});
        return levels_;
    }
    for (size_t j = 0; j < unit_.size(); ++j)
        unit_[j] = std::fabs(x[j]) / largest;
    if (!find_on_grid()) set_levels(searched_stretch());
    reduce();
    return levels_;
}

bool GridFit::find_on_grid() {
    for (int peak = 0; peak <= top_; ++peak) {
        const double stretch = static_cast<double>(peak) + 0.5;
        const auto on_grid = [&](float value) {
            const double level = stretch * static_cast<double>(value) - 0.5;
            return std::fabs(level - std::nearbyint(level)) < kOnGrid && level > -kOnGrid;
        };
        if (!std::all_of(unit_.begin(), unit_.end(), on_grid)) continue;
        set_levels(static_cast<float>(stretch));
        return true;
    }
    return false;
}

float GridFit::searched_stretch() const {
    static const float coarse_ratio =
        std::pow(kLargestPeak / kLeastPeak, 1.0f / static_cast<float>(kCoarse - 1));
    static const float fine_ratio = std::pow(coarse_ratio, 2.0f / static_cast<float>(kFine));
    const float half = static_cast<float>(top_ + 1);
    const float coarse = best_stretch(unit_, top_, half * kLeastPeak, coarse_ratio, kCoarse);
    // The fine ones reach to the coarse neighbours on both sides; the coarse one is the ninth.
    return best_stretch(unit_, top_, coarse / coarse_ratio, fine_ratio, kFine);
}

void GridFit::set_levels(float stretch) {
    for (size_t j = 0; j < unit_.size(); ++j) {
        levels_[j] = static_cast<uint8_t>(std::min(static_cast<int>(stretch * unit_[j]), top_));
    }
}

void GridFit::reduce() {
    int divisor = 0;
    for (uint8_t level : levels_) {
        divisor = std::gcd(divisor, 2 * level + 1);
        if (divisor == 1) return;
    }
    for (uint8_t& level : levels_) {
        level = static_cast<uint8_t>(((2 * level + 1) / divisor - 1) / 2);
    }
}

}  // namespace nearcell
