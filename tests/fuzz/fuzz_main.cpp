// Drives a fuzz target without libFuzzer: the seeds first, then mutations of them and of inputs
// that reached something new. The same seed, program and number of runs give the same inputs.
//   fuzz_NAME [--runs N | --seconds T] [--seed S] [--limit SECONDS]   prints what came of it
//   fuzz_NAME FILE...                                                 runs these inputs only
//   fuzz_NAME --write-seeds FOLDER                                    a corpus for libFuzzer
// An input that fails is saved as failed-NAME in the current folder before the program dies.
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include <fcntl.h>
#include <unistd.h>

#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>

#include "coverage.h"
#include "mutator.h"

// Memory: what new, a picture or a container cannot get ends the run; libraries of others are told
// that there is none.
extern "C" const char* __asan_default_options() {
    return "handle_abort=1:max_allocation_size_mb=1024:hard_rss_limit_mb=3072:"
           "quarantine_size_mb=16:allocator_may_return_null=1:detect_stack_use_after_return=0";
}
extern "C" const char* __ubsan_default_options() { return "print_stacktrace=1:abort_on_error=1"; }

namespace nearcell::fuzz {
namespace {

constexpr size_t kMostKept = 4096;
constexpr size_t kMostKeptBytes = size_t{64} << 20;

struct Options {
    uint64_t runs = 10000;
    double seconds = 0;  // 0: by runs
    uint64_t seed = 1;
    unsigned limit = 60;  // seconds that one input may take
    std::string write_seeds;
    std::vector<std::string> files;
};

const Bytes* current = nullptr;  // the input that runs now
char failed_path[256];

void save_current() {
    if (current == nullptr) return;
    const int file = ::open(failed_path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    const ssize_t wrote = file < 0 ? -1 : ::write(file, current->data(), current->size());
    std::fprintf(stderr, "%s %s, %zu bytes\n", wrote < 0 ? "cannot save" : "saved the input as",
                 failed_path, current->size());
    current = nullptr;
}

void stop_slow_input(int) {
    std::fprintf(stderr, "the input takes too long\n");
    std::abort();
}

[[noreturn]] void fail(const char* why) {
    std::fprintf(stderr, "%s\n", why);
    std::abort();
}

void run_one(const Bytes& input, unsigned limit) {
    current = &input;
    ::alarm(limit);
    outcome.clear();
    try {
        // A copy without spare room, so that a read past the end is one past the block.
        const Bytes exact(input.begin(), input.end());
        LLVMFuzzerTestOneInput(exact.data(), exact.size());
    } catch (const std::exception& error) {
        fail((std::string("an exception that is no Error: ") + error.what()).c_str());
    } catch (...) {
        fail("something thrown that is no exception");
    }
    ::alarm(0);
    current = nullptr;
}

// The inputs that mutations start from.
class Corpus {
   public:
    void add(Bytes input) {
        if (inputs_.size() >= kMostKept || bytes_ + input.size() > kMostKeptBytes) return;
        bytes_ += input.size();
        inputs_.push_back(std::move(input));
    }
    // Every other time one of the newest: what they reached has not been tried much.
    const Bytes& choose(Random& random) const {
        const size_t newest = std::min<size_t>(inputs_.size(), 32);
        return random.below(2) == 0 ? inputs_[random.below(inputs_.size())]
                                    : inputs_[inputs_.size() - 1 - random.below(newest)];
    }
    size_t size() const { return inputs_.size(); }

   private:
    std::vector<Bytes> inputs_;
    size_t bytes_ = 0;
};

class Session {
   public:
    Session(const Options& options, std::vector<Bytes> first)
        : options_(options),
          first_(std::move(first)),
          mutator_(options.seed, longest(first_)),
          end_(std::time(nullptr) + static_cast<std::time_t>(options.seconds)) {}

    void run() {
        for (const Bytes& seed : first_)
            corpus_.add(seed);
        while (goes_on())
            step();
    }
    void report(const char* name) const {
        uint64_t values = 0, errors = 0;
        for (const auto& [what, count] : outcomes_)
            (what == "value" ? values : errors) += count;
        const size_t kinds = outcomes_.size() - outcomes_.count("value");
        std::printf(
            "%s: %llu runs of seed %llu: %llu values, %llu errors of %zu kinds; %zu inputs "
            "kept, %zu blocks reached\n",
            name, static_cast<unsigned long long>(runs_),
            static_cast<unsigned long long>(options_.seed), static_cast<unsigned long long>(values),
            static_cast<unsigned long long>(errors), kinds, corpus_.size(), blocks_reached());
    }
    void list_outcomes() const {
        for (const auto& [what, count] : outcomes_)
            std::printf("%9llu %s\n", static_cast<unsigned long long>(count), what.c_str());
    }
    // Readers that turned everything away, or nothing, were not tested.
    bool is_plausible() const { return outcomes_.count("value") != 0 && outcomes_.size() > 1; }

   private:
    static size_t longest(const std::vector<Bytes>& inputs) {
        size_t most = 4096;
        for (const Bytes& input : inputs)
            most = std::max(most, input.size() * 2);
        return most;
    }
    bool goes_on() const {
        if (options_.seconds == 0) return runs_ < options_.runs;
        return runs_ % 64 != 0 || std::time(nullptr) < end_;
    }
    Bytes next() {
        if (runs_ < first_.size()) return first_[runs_];
        Bytes input = corpus_.choose(mutator_.random());
        mutator_.mutate(input, corpus_.choose(mutator_.random()));
        if (mutator_.random().below(2) == 0) repair(input);
        return input;
    }
    void step() {
        Bytes input = next();
        clear_coverage();
        run_one(input, options_.limit);
        // An input too short for the target is read by nobody, and counts as neither.
        const bool fresh_outcome = !outcome.empty() && ++outcomes_[outcome] == 1;
        const bool is_seed = runs_ < first_.size();
        if ((reached_something_new() || fresh_outcome) && !is_seed) corpus_.add(std::move(input));
        ++runs_;
    }

    const Options& options_;
    std::vector<Bytes> first_;
    Mutator mutator_;
    Corpus corpus_;
    std::time_t end_;
    uint64_t runs_ = 0;
    std::map<std::string, uint64_t> outcomes_;
};

Bytes file_bytes(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) fail(("cannot read " + path).c_str());
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void write_seeds(const std::string& folder) {
    size_t number = 0;
    for (const Bytes& seed : seeds()) {
        std::ofstream out(folder + "/seed-" + std::to_string(number++), std::ios::binary);
        out.write(reinterpret_cast<const char*>(seed.data()),
                  static_cast<std::streamsize>(seed.size()));
    }
}

Options parse(int count, char** arguments) {
    Options options;
    for (int i = 1; i < count; ++i) {
        const std::string name = arguments[i];
        if (!name.starts_with("--")) {
            options.files.push_back(name);
            continue;
        }
        if (i + 1 == count) fail((name + " wants a value").c_str());
        const char* const value = arguments[++i];
        if (name == "--runs") {
            options.runs = std::strtoull(value, nullptr, 10);
        } else if (name == "--seconds") {
            options.seconds = std::strtod(value, nullptr);
        } else if (name == "--seed") {
            options.seed = std::strtoull(value, nullptr, 10);
        } else if (name == "--limit") {
            options.limit = static_cast<unsigned>(std::strtoul(value, nullptr, 10));
        } else if (name == "--write-seeds") {
            options.write_seeds = value;
        } else {
            fail(("unknown option " + name).c_str());
        }
    }
    return options;
}

int run(int count, char** arguments) {
    const Options options = parse(count, arguments);
    std::string name = std::filesystem::path(arguments[0]).filename().string();
    if (name.starts_with("fuzz_")) name.erase(0, 5);
    std::snprintf(failed_path, sizeof failed_path, "failed-%s", name.c_str());
    if (!options.write_seeds.empty()) {
        write_seeds(options.write_seeds);
        return 0;
    }
    std::setvbuf(stdout, nullptr, _IOLBF, 0);  // what was printed is there when it dies
    __sanitizer_set_death_callback(save_current);
    std::signal(SIGALRM, stop_slow_input);
    for (const std::string& file : options.files) {
        run_one(file_bytes(file), options.limit);
        std::printf("%s: %s\n", file.c_str(), outcome.empty() ? "not read" : outcome.c_str());
    }
    if (!options.files.empty()) return 0;
    Session session(options, seeds());
    session.run();
    session.list_outcomes();
    session.report(name.c_str());
    if (!session.is_plausible()) fail("no value or no error: the seeds or the target are wrong");
    return 0;  // LeakSanitizer looks for leaks now
}

}  // namespace
}  // namespace nearcell::fuzz

int main(int count, char** arguments) { return nearcell::fuzz::run(count, arguments); }
