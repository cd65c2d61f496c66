#include "run_command.h"

#include <CLI/CLI.hpp>
#include <csignal>
#include <iostream>
#include <sstream>

#include "commands.h"
#include "escaped.h"
#include "exit_code.h"
#include "interrupt.h"
#include "session.h"

namespace nearcell::cli {

int run_command(int argc, const char* const* argv) {
    CLI::App app("Approximate nearest neighbours, cell by cell.", "nearcell");
    app.set_version_flag("--version", "nearcell " NEARCELL_VERSION);
    app.require_subcommand(1);
    app.footer(
        "Exit codes: 0 ok, 2 usage, 3 bad input, 4 not found, 5 corrupt, 6 i/o or memory,\n"
        "7 no device, 8 unsupported, 9 cancelled. `nearcell COMMAND --help` says more.");
    Session session;
    add_info(app, session);
    add_devices(app, session);
    add_convert(app, session);
    add_extract(app, session);
    add_images(app, session);
    add_truth(app, session);
    add_reduce(app, session);
    add_build(app, session);
    add_search(app, session);
    add_eval(app, session);
    add_tune(app, session);
    add_verify(app, session);
    add_bench(app, session);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        std::ostringstream problem;
        const int code = app.exit(error, std::cout, problem);
        std::cerr << escaped(problem.str(), '\n');
        return code == 0 ? kOk : kUsage;  // 0: --help and --version
    }
    catch_interrupts();
    std::signal(SIGXFSZ,
                SIG_IGN);  // a file size limit is then an error of the write, with its text
    return session.run();
}

}  // namespace nearcell::cli
