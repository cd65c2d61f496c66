// nearcell verify FILE...: whether files are whole. All are checked; the exit code is that of the
// first one that is not.
#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "commands.h"
#include "exit_code.h"
#include "file_check.h"
#include "interrupt.h"
#include "session.h"

namespace nearcell::cli {
namespace {

struct Finding {
    int code = kOk;
    std::string state;  // "ok", or the name of the status
    std::string text;
};

Finding verify_one(const std::string& path, Session& session) {
    check_interrupted();
    try {
        return {kOk, "ok", check_file(path, session.progress())};
    } catch (const Error& error) {
        if (error.code() == StatusCode::Cancelled) throw;
        return {exit_code(error.code()), std::string(status_name(error.code())), error.what()};
    }
}

void verify(const std::vector<std::string>& paths, Session& session) {
    Json files = Json::array();
    Table table({{"", Table::Align::Left}, {"", Table::Align::Left}, {"", Table::Align::Left}});
    int failure = kOk;
    for (const std::string& path : paths) {
        const Finding finding = verify_one(path, session);
        if (failure == kOk) failure = finding.code;
        files.push_back({{"path", path},
                         {"ok", finding.code == kOk},
                         {"state", finding.state},
                         {"message", finding.text}});
        table.add_row({finding.state, path, finding.text});
    }
    session.detail("ok", failure == kOk);
    session.detail("files", std::move(files));
    session.text(table.text());
    session.fail_with(failure);
}

}  // namespace

void add_verify(CLI::App& app, Session& session) {
    CLI::App& command = *app.add_subcommand("verify", "check that files are whole");
    auto paths = std::make_shared<std::vector<std::string>>();
    command.add_option("FILE", *paths, "indexes, PCAs and vector files")->required();
    session.add_command(command, [paths, &session] { verify(*paths, session); });
}

}  // namespace nearcell::cli
