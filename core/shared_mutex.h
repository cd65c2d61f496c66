// SharedMutex: a std::shared_mutex on which readers that come later wait for a writer that waits
// already: glibc's lets them pass, so that readers which follow one another keep a writer out for
// ever. A thread that holds one may read again, what it reads or another. For std::shared_lock and
// std::unique_lock.
#pragma once

#include <mutex>
#include <shared_mutex>

namespace nearcell {

class SharedMutex {
   public:
    void lock() {
        const std::lock_guard<std::mutex> turn(turn_);
        mutex_.lock();
        ++held_here();
    }
    void unlock() {
        --held_here();
        mutex_.unlock();
    }
    void lock_shared() {
        std::unique_lock<std::mutex> turn(turn_, std::defer_lock);
        if (held_here() == 0) turn.lock();  // else a writer may hold it that waits for this thread
        mutex_.lock_shared();
        ++held_here();
    }
    void unlock_shared() {
        --held_here();
        mutex_.unlock_shared();
    }

   private:
    // How many this thread holds.
    static int& held_here() {
        thread_local int count = 0;
        return count;
    }

    std::mutex turn_;
    std::shared_mutex mutex_;
};

}  // namespace nearcell
