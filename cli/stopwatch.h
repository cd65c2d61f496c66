// Stopwatch: seconds since it was made or restarted.
#pragma once

#include <chrono>

namespace nearcell::cli {

class Stopwatch {
   public:
    double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
    // The seconds so far; counting starts again.
    double lap() {
        const double elapsed = seconds();
        start_ = Clock::now();
        return elapsed;
    }

   private:
    using Clock = std::chrono::steady_clock;
    Clock::time_point start_ = Clock::now();
};

}  // namespace nearcell::cli
