// How long something takes, measured several times, in processor time of the calling thread: on a
// machine that others use, a thread is often stopped for longer than what is measured lasts.
#pragma once

#include <functional>

namespace nearcell::cli {

struct Spread {
    double median = 0, low = 0, high = 0;
};

// The seconds for one unit of `run`, which returns how many units it did: of nine measurements of
// at least two milliseconds each, after one that warms up.
Spread seconds_a_unit(const std::function<double()>& run);

}  // namespace nearcell::cli
