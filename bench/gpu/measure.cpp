#include "measure.h"

#include <cmath>

#include <nearcell/core/error.h>
#include <nearcell/gpu/simt/profiler.h>

namespace nearcell::bench {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<double> times_of(size_t most, double seconds, const std::function<void(size_t)>& work) {
    work(0);
    std::vector<double> times;
    double sum = 0;
    while (times.size() < most && (times.empty() || sum < seconds)) {
        times.push_back(seconds_of([&] { work(times.size()); }));
        sum += times.back();
    }
    std::sort(times.begin(), times.end());
    return times;
}

std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out;
}

std::string number_text(double number, int digits) {
    char text[40];
    std::snprintf(text, sizeof(text), "%.*g", digits, number);
    return text;
}

}  // namespace

double seconds_of(const std::function<void()>& work) {
    const auto start = Clock::now();
    work();
    return std::chrono::duration<double>(Clock::now() - start).count();
}

Timing repeat(size_t most, double seconds, const std::function<void(size_t)>& work) {
    const std::vector<double> times = times_of(most, seconds, work);
    return {times[times.size() / 2], times.front(), times.back(), times.size()};
}

Latencies latencies(size_t most, double seconds, const std::function<void(size_t)>& work) {
    const std::vector<double> times = times_of(most, seconds, work);
    return {times[times.size() / 2], times[times.size() * 99 / 100], times.size()};
}

void profile(const std::function<void()>& work) {
    work();
    simt::start_profiling();
    work();
    simt::stop_profiling();
}

void Line::add_raw(std::string_view name, const std::string& value, std::string_view shown) {
    if (!json_.empty()) json_ += ", ";
    json_ += "\"" + escaped(name) + "\": " + value;
    if (name == "what") {
        text_ = std::string(shown) + ":";
    } else {
        text_ += "  " + std::string(name) + " " + std::string(shown);
    }
}

Line& Line::add(std::string_view name, std::string_view text) {
    add_raw(name, "\"" + escaped(text) + "\"", text);
    return *this;
}

Line& Line::add(std::string_view name, double number) {
    const bool whole = number == std::floor(number) && std::fabs(number) < 1e15;
    const std::string text = number_text(number, whole ? 15 : 6);
    add_raw(name, std::isfinite(number) ? text : "null", whole ? text : number_text(number, 4));
    return *this;
}

Line& Line::add(const Timing& timing) {
    add("ms", 1e3 * timing.median);
    add("least_ms", 1e3 * timing.least);
    add("most_ms", 1e3 * timing.most);
    return add("repetitions", static_cast<double>(timing.repetitions));
}

Line& Line::add(const Latencies& found) {
    add("p50_us", 1e6 * found.p50);
    add("p99_us", 1e6 * found.p99);
    return add("calls", static_cast<double>(found.calls));
}

Report::Report(const std::string& json_path) {
    if (json_path.empty()) return;
    json_.open(json_path);
    check(json_.good(), StatusCode::Io, "--json ", json_path, " cannot be written");
}

void Report::write(const Line& line) {
    say(line.text());
    if (json_.is_open()) json_ << line.json() << std::endl;
}

void Report::say(const std::string& text) {
    std::printf("%s\n", text.c_str());
    std::fflush(stdout);
}

}  // namespace nearcell::bench
