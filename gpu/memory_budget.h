// MemoryBudget: how much memory of a device one index may take, its searches' scratch included, and
// how much of it is taken. Thread safety: all calls may run at once.
#pragma once

#include <cstddef>
#include <mutex>

#include <nearcell/core/error.h>

namespace nearcell::gpu {

class MemoryBudget {
   public:
    explicit MemoryBudget(size_t limit) : limit_(limit) {}
    MemoryBudget(const MemoryBudget&) = delete;
    MemoryBudget& operator=(const MemoryBudget&) = delete;

    size_t limit() const { return limit_; }
    size_t used() const {
        const std::lock_guard lock(mutex_);
        return used_;
    }

    // Throws OutOfMemory when so much is not left; `what` it is for.
    void reserve(size_t bytes, const char* what) {
        const std::lock_guard lock(mutex_);
        check(bytes <= limit_ && used_ <= limit_ - bytes, StatusCode::OutOfMemory,
              "device memory: ", bytes, " bytes are wanted for ", what, ", and ", used_, " of the ",
              limit_,
              " that this index may take are in use: give it more (DeviceOptions::"
              "memory_bytes), leave the re-rank store on the host, or use smaller codes");
        used_ += bytes;
    }
    void release(size_t bytes) noexcept {
        const std::lock_guard lock(mutex_);
        used_ -= bytes;
    }

   private:
    size_t limit_;
    mutable std::mutex mutex_;
    size_t used_ = 0;
};

}  // namespace nearcell::gpu
