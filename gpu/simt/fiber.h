// FiberContext: a call stack of its own that another one can switch to and back: what the emulation
// gives to every CUDA thread. Assembly on x86-64, ucontext elsewhere, which asks the system at each
// switch. All contexts that switch to each other belong to one thread of the operating system.
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
#define NEARCELL_FIBER_UCONTEXT 1
#endif
#if defined(NEARCELL_FIBER_UCONTEXT)  // may be defined to try it on x86-64
#include <ucontext.h>
#endif

namespace nearcell::simt {

class FiberContext {
   public:
    // The first switch to this context calls entry() on [stack, stack + bytes). It must not return.
    void start(char* stack, size_t bytes, void (*entry)());
    // Continues `next`; returns when something switches back to this context.
    void switch_to(FiberContext& next);
    // The first thing that entry() of a context calls, on it.
    void entered();

   private:
#if defined(SIMT_WITH_ASAN)
    const void* low_ = nullptr;
    size_t bytes_ = 0;
    bool is_fiber_ = false;
    void* fake_stack_ = nullptr;
#endif
    void begins_on(char* stack, size_t bytes);
    void leaves_for(FiberContext& next);
#if defined(NEARCELL_FIBER_UCONTEXT)
    ucontext_t context_{};
#else
    void* stack_pointer_ = nullptr;
#endif
};

// A mapped stack with an unreadable page below it: a thread that needs more faults at once.
class FiberStack {
   public:
    explicit FiberStack(size_t bytes);
    ~FiberStack();
    FiberStack(FiberStack&& other) noexcept;
    FiberStack(const FiberStack&) = delete;
    FiberStack& operator=(const FiberStack&) = delete;
    FiberStack& operator=(FiberStack&&) = delete;

    char* low() const { return low_; }
    size_t bytes() const { return bytes_; }

   private:
    char* low_;
    size_t bytes_;
};

}  // namespace nearcell::simt
