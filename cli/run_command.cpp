#include "run_command.h"

#include <fcntl.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>

#include "commands.h"
#include "exit_code.h"
#include "interrupt.h"
#include "session.h"

namespace nearcell::cli {
namespace {

// Where a standard stream is closed, the first file opened would take its place, and an output
// file get what is printed. Writing to standard output stays an error, as on a closed one.
void occupy_standard_streams() {
    for (const int stream : {0, 1, 2}) {
        if (fcntl(stream, F_GETFD) < 0) open("/dev/null", stream == 2 ? O_WRONLY : O_RDONLY);
    }
}

// The parser takes -1 for the largest of unsigned numbers, and so numbers beyond that.
std::string check_unsigned(const std::string& text) {
    errno = 0;
    std::strtoull(text.c_str(), nullptr, 0);
    if (text.find('-') == std::string::npos && errno != ERANGE) return "";
    return text + " must be a whole number from 0 to 18446744073709551615";
}

std::string check_not_nan(const std::string& text) {
    return std::isnan(std::strtod(text.c_str(), nullptr)) ? text + " is not a number" : "";
}

// Of all options, by the type of their variables; before what other checks make of the text.
void check_numbers(CLI::App& app) {
    for (CLI::Option* option : app.get_options()) {
        const std::string type = option->get_type_name();
        if (type.starts_with("UINT")) option->transform(CLI::Validator(check_unsigned, ""));
        if (type.starts_with("FLOAT")) option->transform(CLI::Validator(check_not_nan, ""));
    }
    for (CLI::App* command : app.get_subcommands({}))
        check_numbers(*command);
}

}  // namespace

int run_command(int argc, const char* const* argv) {
    occupy_standard_streams();
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
    check_numbers(app);
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& wanted) {  // --help and --version
        app.exit(wanted);
        return std::cout.flush() ? kOk : kIo;
    } catch (const CLI::ParseError& error) {
        const auto is_json = [](std::string_view word) { return word == "--json"; };
        return session.usage_error(error.what(), std::any_of(argv, argv + argc, is_json));
    }
    catch_interrupts();
    std::signal(SIGXFSZ,
                SIG_IGN);  // a file size limit is then an error of the write, with its text
    return session.run();
}

}  // namespace nearcell::cli
