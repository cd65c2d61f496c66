// parallel_for: the one way nearcell uses threads. Built over OpenMP by default, or over
// std::thread (NEARCELL_THREADS=std) for ThreadSanitizer and for hosts that must not load an OpenMP
// runtime. No global state is set: the number of threads is an argument of each call. A nested call
// runs serially. The first exception of any task is rethrown to the caller after all tasks have
// ended. In a child that a fork made of a process which had used threads, there is one: OpenMP's
// would be waited for for ever.
#pragma once

#include <cstddef>
#include <functional>

namespace nearcell {

// Threads to use for a request: 0 means all that the process may run on; always at least 1,
// and at most kMaxThreads: OpenMP runtimes end the process when the system has no more threads.
int resolve_threads(int threads);
constexpr int kMaxThreads = 1024;

// Calls task(i, worker) for every i in [0, tasks), on at most `threads` threads (0 = all). `worker`
// is in [0, resolve_threads(threads)) and not shared by two tasks at one time: index scratch by it.
// The order of tasks is not defined: results must not depend on it.
void parallel_for(size_t tasks, int threads, const std::function<void(size_t i, int worker)>& task);

// The name of the executor that was built: "openmp" or "std".
const char* executor_name();

}  // namespace nearcell
