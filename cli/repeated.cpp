#include "repeated.h"

#include <algorithm>
#include <array>
#include <ctime>

namespace nearcell::cli {
namespace {

double processor_seconds() {
    timespec time = {};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

Spread seconds_a_unit(const std::function<double()>& run) {
    constexpr double kSeconds = 2e-3;
    constexpr size_t kRepeats = 9;
    run();
    const double start = processor_seconds();
    size_t passes = 0;
    do {
        run();
        ++passes;
    } while (processor_seconds() - start < kSeconds);
    std::array<double, kRepeats> seconds;
    for (double& one : seconds) {
        double units = 0;
        const double begin = processor_seconds();
        for (size_t i = 0; i < passes; ++i)
            units += run();
        one = (processor_seconds() - begin) / units;
    }
    std::sort(seconds.begin(), seconds.end());
    return {seconds[kRepeats / 2], seconds.front(), seconds.back()};
}

}  // namespace nearcell::cli
