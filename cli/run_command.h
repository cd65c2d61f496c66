// The nearcell command as a function: what main() calls, and tests that bring devices of their own
// (kernels/device.h, set_device_source). Not thread safe; sets handlers of SIGINT and SIGTERM.
#pragma once

namespace nearcell::cli {

// Parses the command line and runs one sub-command. Returns the exit code.
int run_command(int argc, const char* const* argv);

}  // namespace nearcell::cli
