// How the benchmarks measure, and where they write: JSON lines into a file, the same for people on
// the screen, at once, so that what was measured is kept when the time is up. Thread safety: one
// thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace nearcell::bench {

// How long the program has run, and how much longer it may.
class Budget {
   public:
    explicit Budget(double seconds) : seconds_(seconds) {}
    double used() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    }
    double left() const { return seconds_ - used(); }

   private:
    double seconds_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

double seconds_of(const std::function<void()>& work);

struct Timing {
    double median = 0, least = 0, most = 0;  // seconds
    size_t repetitions = 0;
};
// `work` once to warm up, then at most so often, and no longer than about `seconds`, but once. The
// argument counts the calls.
Timing repeat(size_t most, double seconds, const std::function<void(size_t)>& work);

// The times of single calls, one after the other.
struct Latencies {
    double p50 = 0, p99 = 0;  // seconds
    size_t calls = 0;
};
Latencies latencies(size_t most, double seconds, const std::function<void(size_t)>& work);

// `work` once to warm up, and again as what a profiler that waits for it sees: ncu
// --profile-from-start off.
void profile(const std::function<void()>& work);

// One line of results: {"what": "exact", "rows": 10000000, ...}.
class Line {
   public:
    explicit Line(std::string_view what) { add("what", what); }
    Line& add(std::string_view name, std::string_view text);
    Line& add(std::string_view name, double number);
    Line& add(const Timing& timing);
    Line& add(const Latencies& found);
    std::string json() const { return "{" + json_ + "}"; }
    std::string text() const { return text_; }

   private:
    void add_raw(std::string_view name, const std::string& value, std::string_view shown);
    std::string json_, text_;
};

class Report {
   public:
    explicit Report(const std::string& json_path);  // "": no file
    void write(const Line& line);
    void say(const std::string& text);  // for people only

   private:
    std::ofstream json_;
};

}  // namespace nearcell::bench
