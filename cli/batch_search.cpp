#include "batch_search.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "bounded_queue.h"
#include "interrupt.h"
#include "stopwatch.h"

namespace nearcell::cli {
namespace {

constexpr size_t kWaiting = 2;  // batches between two threads

void do_nothing() {}

// Lets the thread at the other end come to its end.
template <class T>
struct Closing {
    BoundedQueue<T>& queue;
    ~Closing() { queue.close(); }
};

// Runs `body`; what it throws ends the queue.
template <class T, class Body>
void ending(BoundedQueue<T>& queue, const Body& body) {
    try {
        body();
        queue.close();
    } catch (...) {
        queue.fail(std::current_exception());
    }
}

void read_batches(const BatchSearch& job, BoundedQueue<VectorData>& queries) {
    const size_t rows = std::min(job.batch, std::max<size_t>(job.total(), 1));
    size_t first = job.first;
    do {
        if (!queries.push(job.queries.read(first, rows), do_nothing)) return;
        first += rows;
    } while (first < job.total());
}

// The progress of one batch as that of the file.
Progress batch_progress(const BatchSearch& job, size_t first, size_t count) {
    return [&job, first, count](std::string_view phase, double done, double total) {
        const double share = total > 0 ? done / total : 0;
        return !job.search.progress ||
               job.search.progress(phase,
                                   static_cast<double>(first) + share * static_cast<double>(count),
                                   static_cast<double>(job.total()));
    };
}

void search_batches(const BatchSearch& job, BoundedQueue<VectorData>& queries,
                    BoundedQueue<FoundBatch>& found) {
    size_t first = job.first;
    while (const std::optional<VectorData> batch = queries.pop(check_interrupted)) {
        check_finite(batch->view(), job.queries.path(), job.search.threads, first);
        check_interrupted();
        SearchOptions search = job.search;
        search.progress = batch_progress(job, first, batch->rows);
        const Stopwatch watch;
        FoundBatch one{job.index.search(batch->view(), search), 0};
        one.seconds = watch.seconds();
        found.push(std::move(one), do_nothing);
        first += batch->rows;
    }
}

}  // namespace

void search_in_batches(const BatchSearch& job, const std::function<void(FoundBatch)>& write) {
    BoundedQueue<VectorData> queries(kWaiting);
    BoundedQueue<FoundBatch> found(kWaiting);
    std::jthread reader([&] { ending(queries, [&] { read_batches(job, queries); }); });
    const Closing<VectorData> close_queries{queries};
    std::jthread writer([&] {
        ending(found, [&] {
            while (std::optional<FoundBatch> one = found.pop(do_nothing))
                write(std::move(*one));
        });
    });
    std::exception_ptr failure;
    try {
        search_batches(job, queries, found);
    } catch (...) {
        failure = std::current_exception();
    }
    queries.close();
    found.close();
    reader.join();
    writer.join();
    if (failure) std::rethrow_exception(failure);
    found.throw_failure();
}

}  // namespace nearcell::cli
