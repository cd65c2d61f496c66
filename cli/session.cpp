#include "session.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "escaped.h"
#include "exit_code.h"
#include "interrupt.h"
#include "number_text.h"

namespace nearcell::cli {

void Session::add_command(CLI::App& command, std::function<void()> body) {
    command.add_flag("--json", json_, "print the result as one JSON object")->group("Common");
    command.add_flag("--quiet", quiet_, "print errors only (and the JSON object)")->group("Common");
    command.add_option("--threads", threads_, "threads to use; 0 = all that are allowed")
        ->check(CLI::Range(0, std::numeric_limits<int>::max()))
        ->group("Common");
    command.callback([this, body = std::move(body)] { body_ = body; });
}

int Session::run() {
    bar_ = std::make_unique<ProgressBar>(!quiet_);
    const int code = guarded();
    bar_->clear();
    return printed(code);
}

int Session::usage_error(const std::string& problem, bool json) {
    json_ = json;
    bar_ = std::make_unique<ProgressBar>(false);
    return printed(
        failed(kUsage, "Usage", problem + "; `nearcell COMMAND --help` says what there is"));
}

// The exit code once all is printed. A full disk may show when the buffer is emptied in between.
int Session::printed(int code) {
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
    std::fputs("nearcell: cannot write to standard output\n", stderr);
    return kIo;
}

int Session::guarded() {
    try {
        body_();
        bar_->clear();
        print_result();
        return failure_;
    } catch (const Error& error) {
        const bool cancelled = error.code() == StatusCode::Cancelled;
        return failed(exit_code(error.code()), status_name(error.code()),
                      cancelled ? interrupted_text_ : error.what());
    } catch (const std::bad_alloc&) {
        return out_of_memory();
    } catch (const std::length_error&) {  // more than any machine has
        return out_of_memory();
    } catch (const std::system_error& error) {  // most likely a thread that cannot be started
        return failed(kIo, status_name(StatusCode::Io),
                      std::string("the system refused: ") + error.what() +
                          "; where it allows no more threads, ask for fewer (--threads)");
    } catch (const std::exception& error) {
        return failed(kBug, "Unexpected", std::string("unexpected error: ") + error.what());
    }
}

int Session::out_of_memory() {
    return failed(kIo, status_name(StatusCode::OutOfMemory),
                  "out of memory: ask for less (-n, --batch, --limit) or use a machine with more");
}

int Session::failed(int code, std::string_view name, const std::string& message) {
    bar_->clear();
    std::fprintf(stderr, "nearcell: %s\n", escaped(message).c_str());
    if (json_) {
        result_ = Json::object();
        result_["error"] = {{"code", name}, {"exit_code", code}, {"message", message}};
        print_result();
    }
    return code;
}

Progress Session::progress() {
    return [this](std::string_view phase, double done, double total) {
        return bar_->update(phase, done, total);
    };
}

void Session::fact(const std::string& name, Json value, const std::string& text) {
    result_[name] = std::move(value);
    std::string words = name;
    std::replace(words.begin(), words.end(), '_', ' ');
    facts_.add_row({words, text});
}

void Session::fact(const std::string& name, uint64_t count) {
    fact(name, count, grouped_text(count));
}

void Session::fact_seconds(const std::string& name, double seconds) {
    fact(name, seconds, seconds_text(seconds));
}

void Session::note(const std::string& message) {
    bar_->clear();
    if (!quiet_) std::fprintf(stderr, "nearcell: %s\n", escaped(message).c_str());
}

void Session::warn(const std::string& message) {
    bar_->clear();
    if (!quiet_) std::fprintf(stderr, "nearcell: warning: %s\n", escaped(message).c_str());
    result_["warnings"].push_back(message);
}

void Session::print_result() {
    if (json_) {
        // A path may hold bytes that are not UTF-8.
        const std::string text = result_.dump(2, ' ', false, Json::error_handler_t::replace);
        std::printf("%s\n", text.c_str());
    } else if (!quiet_) {
        const bool both = !facts_.empty() && !text_.empty();
        std::printf("%s%s%s", facts_.text().c_str(), both ? "\n" : "", text_.c_str());
    }
}

}  // namespace nearcell::cli
