// Session: what one run of the command has in common for all sub-commands: the options --json,
// --quiet and --threads, the progress bar, and the result, which is collected once and printed
// either as one JSON object or as aligned text. Not thread safe.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include <nearcell/core/progress.h>
#include <nlohmann/json.hpp>

#include "progress_bar.h"
#include "table.h"

namespace CLI {
class App;
}

namespace nearcell::cli {

using Json = nlohmann::ordered_json;

class Session {
   public:
    // Gives a sub-command the common options; run() will call `body` when it is the one chosen.
    void add_command(CLI::App& command, std::function<void()> body);
    // Runs the chosen sub-command and prints its result. Returns the exit code.
    int run();
    // Instead of run(), for a command line that does not parse; `json`: --json is in it. Returns
    // the exit code.
    int usage_error(const std::string& problem, bool json);

    int threads() const { return threads_; }
    bool quiet() const { return quiet_; }
    // Draws the bar and cancels after Ctrl-C.
    Progress progress();

    // One fact of the result: a member of the JSON object, and a line "name  text" for people.
    void fact(const std::string& name, Json value, const std::string& text);
    void fact(const std::string& name, const std::string& text) { fact(name, text, text); }
    void fact(const std::string& name, uint64_t count);
    void fact_seconds(const std::string& name, double seconds);
    // A member of the JSON object only.
    void detail(const std::string& name, Json value) { result_[name] = std::move(value); }
    // Lines for people only, after the facts.
    void text(const std::string& lines) { text_ += lines; }
    // A line on stderr, and an entry of "warnings" in the JSON object.
    void warn(const std::string& message);
    // A line on stderr, for people only.
    void note(const std::string& message);
    // What a Ctrl-C is reported as, when something was written.
    void set_interrupted_text(std::string text) { interrupted_text_ = std::move(text); }
    // The result is printed, but the run ends with this exit code.
    void fail_with(int code) { failure_ = code; }

   private:
    int guarded();
    int printed(int code);
    int out_of_memory();
    int failed(int code, std::string_view name, const std::string& message);
    void print_result();

    bool json_ = false;
    bool quiet_ = false;
    int threads_ = 0;
    int failure_ = 0;
    std::string interrupted_text_ = "interrupted; nothing was written";
    std::function<void()> body_;
    std::unique_ptr<ProgressBar> bar_;
    Json result_ = Json::object();
    Table facts_{{{"", Table::Align::Left}, {"", Table::Align::Left}}};
    std::string text_;
};

}  // namespace nearcell::cli
