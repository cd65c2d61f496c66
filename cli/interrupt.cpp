#include "interrupt.h"

#include <csignal>

#include <nearcell/core/error.h>

namespace nearcell::cli {
namespace {

volatile std::sig_atomic_t caught = 0;

extern "C" void on_signal(int) { caught = 1; }

}  // namespace

void catch_interrupts() {
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = static_cast<int>(SA_RESETHAND);  // the second signal has its default effect
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return caught != 0; }

void check_interrupted() { check(!interrupted(), StatusCode::Cancelled, "interrupted"); }

}  // namespace nearcell::cli
