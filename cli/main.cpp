// The nearcell command.
#include "run_command.h"

int main(int argc, char** argv) { return nearcell::cli::run_command(argc, argv); }
