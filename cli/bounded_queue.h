// BoundedQueue: hands values from one thread to another, at most `limit` waiting; who brings more
// waits. Ends by close(), or by fail() with the exception that ended the other side. Thread safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <utility>

namespace nearcell::cli {

template <class T>
class BoundedQueue {
   public:
    explicit BoundedQueue(size_t limit) : limit_(limit) {}

    // False: the queue was closed, and the value is lost. Throws what fail() was given. `waiting`
    // is called some times a second while there is no room, and may throw.
    template <class Waiting>
    bool push(T value, Waiting&& waiting) {
        std::unique_lock lock(mutex_);
        wait(lock, waiting, [this] { return values_.size() < limit_ || closed_; });
        if (failure_) std::rethrow_exception(failure_);
        if (closed_) return false;
        values_.push_back(std::move(value));
        changed_.notify_all();
        return true;
    }
    // None: the queue is closed and empty. Throws what fail() was given, after the values before.
    template <class Waiting>
    std::optional<T> pop(Waiting&& waiting) {
        std::unique_lock lock(mutex_);
        wait(lock, waiting, [this] { return !values_.empty() || closed_; });
        if (values_.empty() && failure_) std::rethrow_exception(failure_);
        if (values_.empty()) return std::nullopt;
        std::optional<T> value(std::move(values_.front()));
        values_.pop_front();
        changed_.notify_all();
        return value;
    }
    void close() { fail(nullptr); }
    void fail(std::exception_ptr failure) {
        const std::lock_guard lock(mutex_);
        if (!failure_) failure_ = std::move(failure);
        closed_ = true;
        changed_.notify_all();
    }
    void throw_failure() const {
        const std::lock_guard lock(mutex_);
        if (failure_) std::rethrow_exception(failure_);
    }

   private:
    template <class Waiting, class Ready>
    void wait(std::unique_lock<std::mutex>& lock, Waiting& waiting, const Ready& ready) {
        while (!changed_.wait_for(lock, std::chrono::milliseconds(100), ready)) {
            lock.unlock();
            waiting();
            lock.lock();
        }
    }

    size_t limit_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<T> values_;
    std::exception_ptr failure_;
    bool closed_ = false;
};

}  // namespace nearcell::cli
