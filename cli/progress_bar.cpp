#include "progress_bar.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "interrupt.h"
#include "number_text.h"

namespace nearcell::cli {
namespace {

constexpr double kWorthShowing = 2.0;  // seconds that a phase must be expected to take
constexpr double kFirstGuess = 0.5;    // seconds before the expectation is trusted
constexpr double kRedrawInterval = 0.1;

bool is_terminal() {
    const char* term = std::getenv("TERM");
    return isatty(STDERR_FILENO) != 0 && (term == nullptr || std::strcmp(term, "dumb") != 0);
}

size_t terminal_columns() {
    winsize size = {};
    const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? size.ws_col : 80;
}

std::string bar_text(double share) {
    constexpr size_t kWidth = 24;
    const auto full = static_cast<size_t>(share * static_cast<double>(kWidth));
    return "[" + std::string(full, '#') + std::string(kWidth - full, '.') + "]";
}

}  // namespace

ProgressBar::ProgressBar(bool enabled) : enabled_(enabled && is_terminal()) {}

bool ProgressBar::update(std::string_view phase, double done, double total) {
    if (interrupted()) return false;
    if (!enabled_) return true;
    if (phase != phase_ || done < last_done_) {
        clear();
        phase_ = phase;
        first_done_ = done;
        last_drawn_ = 0;
        watch_.lap();
    }
    last_done_ = done;
    if (done >= total) {
        clear();
    } else if (is_due(done, total)) {
        draw(done, total);
    }
    return true;
}

bool ProgressBar::is_due(double done, double total) const {
    const double elapsed = watch_.seconds();
    if (drawn_) return elapsed - last_drawn_ >= kRedrawInterval;
    if (elapsed < kFirstGuess) return false;
    const double rate = (done - first_done_) / elapsed;
    return elapsed >= kWorthShowing || (total - first_done_) > rate * kWorthShowing;
}

void ProgressBar::draw(double done, double total) {
    const double elapsed = watch_.seconds();
    const double rate = (done - first_done_) / elapsed;
    const double share = total > 0 ? std::clamp(done / total, 0.0, 1.0) : 0;
    std::string text = phase_ + " " + bar_text(share) + " " + fixed_text(100 * share, 0) + "%";
    if (rate > 0) {
        text += "  " + count_text(rate) + "/s  " + seconds_text((total - done) / rate) + " left";
    }
    text.resize(std::min(text.size(), terminal_columns() - 1));
    std::fprintf(stderr, "\r%s\x1b[K", text.c_str());
    std::fflush(stderr);
    drawn_ = true;
    last_drawn_ = elapsed;
}

void ProgressBar::clear() {
    if (!drawn_) return;
    std::fputs("\r\x1b[K", stderr);
    std::fflush(stderr);
    drawn_ = false;
}

}  // namespace nearcell::cli
