// MemoryBudget: how much memory of a device one index or network may take, its calls' scratch
// included, and how much of it is taken. Thread safety: all calls may run at once.
#pragma once

#include <cstddef>
#include <mutex>

#include <nearcell/core/error.h>

namespace nearcell::gpu {

// What is said when it is used up.
struct BudgetWords {
    const char* owner = "index";
    const char* call = "a search";
    const char* remedy = "leave the re-rank store on the host, or use smaller codes";
};

class MemoryBudget {
   public:
    explicit MemoryBudget(size_t limit, BudgetWords words = {}) : limit_(limit), words_(words) {}
    MemoryBudget(const MemoryBudget&) = delete;
    MemoryBudget& operator=(const MemoryBudget&) = delete;

    size_t limit() const { return limit_; }
    size_t used() const {
        const std::lock_guard lock(mutex_);
        return used_;
    }

    const BudgetWords& words() const { return words_; }

    // Throws OutOfMemory when so much is not left; `what` it is for.
    void reserve(size_t bytes, const char* what) {
        const std::lock_guard lock(mutex_);
        check(bytes <= limit_ && used_ <= limit_ - bytes, StatusCode::OutOfMemory,
              "device memory: ", bytes, " bytes are wanted for ", what, ", and ", used_, " of the ",
              limit_, " that this ", words_.owner,
              " may take are in use: give it more (DeviceOptions::memory_bytes), ", words_.remedy);
        used_ += bytes;
    }
    void release(size_t bytes) noexcept {
        const std::lock_guard lock(mutex_);
        used_ -= bytes;
    }

   private:
    size_t limit_;
    BudgetWords words_;
    mutable std::mutex mutex_;
    size_t used_ = 0;
};

}  // namespace nearcell::gpu
