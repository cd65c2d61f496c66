// The default executor: OpenMP parallel regions with an explicit number of threads each.
#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

#include <nearcell/core/parallel.h>

namespace nearcell {
namespace {

std::atomic<bool> has_team{false};   // of threads, which OpenMP keeps
std::atomic<bool> lost_team{false};  // by a fork, and OpenMP does not know
[[maybe_unused]] const int at_fork =
    pthread_atfork(nullptr, nullptr, [] { lost_team.store(has_team.load()); });

}  // namespace

int resolve_threads(int threads) {
    if (omp_in_parallel() || lost_team.load(std::memory_order_relaxed)) return 1;
    const int available = omp_get_max_threads();
    return std::clamp(threads <= 0 ? available : threads, 1, kMaxThreads);
}

void parallel_for(size_t tasks, int threads, const std::function<void(size_t, int)>& task) {
    const size_t resolved = static_cast<size_t>(resolve_threads(threads));
    const int team = static_cast<int>(resolved < tasks ? resolved : tasks);
    if (team <= 1) {
        for (size_t i = 0; i < tasks; ++i)
            task(i, 0);
        return;
    }
    has_team.store(true, std::memory_order_relaxed);
    std::atomic<size_t> next{0};
    std::exception_ptr failure;
    std::mutex failure_mutex;
#pragma omp parallel num_threads(team)
    {
        const int worker = omp_get_thread_num();
        for (size_t i = next.fetch_add(1); i < tasks; i = next.fetch_add(1)) {
            try {
                task(i, worker);
            } catch (...) {
                const std::lock_guard<std::mutex> lock(failure_mutex);
                if (!failure) failure = std::current_exception();
                next.store(tasks);
            }
        }
    }
    if (failure) std::rethrow_exception(failure);
}

const char* executor_name() { return "openmp"; }

}  // namespace nearcell
