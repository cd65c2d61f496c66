// SharedMutex: a std::shared_mutex on which readers that come later wait for a writer that waits
// already: glibc's lets them pass, so that readers which follow one another keep a writer out for
// ever. A thread that holds one may read again, what it reads or another; what would have it wait
// for itself throws Unsupported. For std::shared_lock and std::unique_lock.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <mutex>
#include <shared_mutex>

#include <nearcell/core/error.h>

namespace nearcell {

class SharedMutex {
   public:
    void lock() {
        check_not_held(false);
        const std::lock_guard<std::mutex> turn(turn_);
        mutex_.lock();
        hold({this, true});
    }
    void unlock() {
        release();
        mutex_.unlock();
    }
    void lock_shared() {
        check_not_held(true);
        std::unique_lock<std::mutex> turn(turn_, std::defer_lock);
        if (here().count == 0) turn.lock();  // else a writer may hold it that waits for this thread
        mutex_.lock_shared();
        hold({this, false});
    }
    void unlock_shared() {
        release();
        mutex_.unlock_shared();
    }

   private:
    struct Held {
        const SharedMutex* mutex;
        bool writes;
    };
    // What this thread holds; of more than there are places the rest is counted only. Without a
    // destructor: static objects may be used after those of a thread have run.
    struct Holdings {
        size_t count, known;
        Held held[32];
    };
    static Holdings& here() {
        thread_local constinit Holdings holdings{};
        return holdings;
    }

    void check_not_held(bool reads) const {
        const Holdings& all = here();
        for (size_t i = 0; i < all.known; ++i) {
            check(all.held[i].mutex != this || (reads && !all.held[i].writes),
                  StatusCode::Unsupported, "a callback ", reads ? "reads" : "changes",
                  " the index that is working and called it, which would wait for itself: a "
                  "progress callback may not call that index, use it after its call has returned");
        }
    }
    static void hold(const Held& held) {
        Holdings& all = here();
        if (all.known < std::size(all.held)) all.held[all.known++] = held;
        ++all.count;
    }
    void release() const {
        Holdings& all = here();
        --all.count;
        size_t i = all.known;
        while (i > 0 && all.held[i - 1].mutex != this)
            --i;
        if (i == 0) return;  // it had no place
        std::copy(all.held + i, all.held + all.known, all.held + i - 1);
        --all.known;
    }

    std::mutex turn_;
    std::shared_mutex mutex_;
};

}  // namespace nearcell
