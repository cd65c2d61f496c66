// ProgressBar: one line on stderr with phase, share done, rate and time remaining. It shows itself
// only on a terminal, and only for phases that take more than about two seconds; otherwise it does
// nothing but look for Ctrl-C. Cost: a clock reading a call. Not thread safe: the library calls
// progress from the calling thread.
#pragma once

#include <string>
#include <string_view>

#include "stopwatch.h"

namespace nearcell::cli {

class ProgressBar {
   public:
    explicit ProgressBar(bool enabled);
    ~ProgressBar() { clear(); }
    ProgressBar(const ProgressBar&) = delete;
    ProgressBar& operator=(const ProgressBar&) = delete;

    // The library's progress callback: false once Ctrl-C was pressed.
    bool update(std::string_view phase, double done, double total);
    // Wipes the line, before anything else is printed.
    void clear();

   private:
    bool is_due(double done, double total) const;
    void draw(double done, double total);
    bool enabled_;
    bool drawn_ = false;
    std::string phase_;
    double first_done_ = 0;  // where this phase stood when it was first heard of
    double last_done_ = 0;
    double last_drawn_ = 0;  // seconds into the phase
    Stopwatch watch_;
};

}  // namespace nearcell::cli
