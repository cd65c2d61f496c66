// Interrupt: Ctrl-C (and SIGTERM) as a flag that progress callbacks look at, so that an operation
// stops at its next safe point and nothing is left half-written. A second Ctrl-C ends the process
// at once. Process-wide; safe to read from any thread.
#pragma once

namespace nearcell::cli {

void catch_interrupts();
bool interrupted();
// Throws Error(Cancelled) after a Ctrl-C; called before each step that takes long or writes.
void check_interrupted();

}  // namespace nearcell::cli
