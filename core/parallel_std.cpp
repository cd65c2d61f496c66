// The executor without an OpenMP runtime: threads started for each call (tens of microseconds
// each).
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include <nearcell/core/parallel.h>

namespace nearcell {
namespace {

thread_local bool inside_task = false;  // a nested call runs serially

int usable_processors() {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    const unsigned count = std::thread::hardware_concurrency();
    return count == 0 ? 1 : static_cast<int>(count);
}

}  // namespace

int resolve_threads(int threads) {
    if (inside_task) return 1;
    return std::clamp(threads <= 0 ? usable_processors() : threads, 1, kMaxThreads);
}

void parallel_for(size_t tasks, int threads, const std::function<void(size_t, int)>& task) {
    const size_t resolved = static_cast<size_t>(resolve_threads(threads));
    const size_t team = resolved < tasks ? resolved : tasks;
    if (team <= 1) {
        for (size_t i = 0; i < tasks; ++i)
            task(i, 0);
        return;
    }
    std::atomic<size_t> next{0};
    std::exception_ptr failure;
    std::mutex failure_mutex;
    const auto work = [&](int worker) {
        inside_task = true;
        for (size_t i = next.fetch_add(1); i < tasks; i = next.fetch_add(1)) {
            try {
                task(i, worker);
            } catch (...) {
                const std::lock_guard<std::mutex> lock(failure_mutex);
                if (!failure) failure = std::current_exception();
                next.store(tasks);
            }
        }
        inside_task = false;
    };
    std::vector<std::thread> team_threads;
    team_threads.reserve(team - 1);
    try {
        for (size_t i = 1; i < team; ++i)
            team_threads.emplace_back(work, static_cast<int>(i));
    } catch (const std::system_error&) {
        // The system gives no more threads: those that started, and this one, do all the work.
    }
    work(0);
    for (std::thread& thread : team_threads)
        thread.join();
    if (failure) std::rethrow_exception(failure);
}

const char* executor_name() { return "std"; }

}  // namespace nearcell
