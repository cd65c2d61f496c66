#include <nearcell/gpu/simt/fiber.h>

#include <cstdint>
#include <utility>

#include <sys/mman.h>
#if defined(SIMT_WITH_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif

#include <nearcell/core/error.h>

#if !defined(NEARCELL_FIBER_UCONTEXT)
// Saves what the System V convention asks a callee to preserve, swaps stacks, restores. The words
// that set rounding are not saved: no kernel changes them.
extern "C" void nearcell_fiber_switch(void** save, void* next);
asm(R"(
.text
.p2align 4
.globl nearcell_fiber_switch
.hidden nearcell_fiber_switch
.type nearcell_fiber_switch,@function
nearcell_fiber_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size nearcell_fiber_switch,.-nearcell_fiber_switch
)");
#endif

namespace nearcell::simt {

#if defined(SIMT_WITH_ASAN)
// ASan hears which stack is in use. Only the host's keeps a fake stack: no frame of a fiber that
// changes stacks is compiled for it (CMakeLists.txt), so a fiber may be abandoned.
namespace {
FiberContext* left = nullptr;  // at the last change
}

void FiberContext::begins_on(char* stack, size_t bytes) {
    low_ = stack;
    bytes_ = bytes;
    is_fiber_ = true;
}

void FiberContext::leaves_for(FiberContext& next) {
    left = this;
    __sanitizer_start_switch_fiber(is_fiber_ ? nullptr : &fake_stack_, next.low_, next.bytes_);
}

void FiberContext::entered() {
    __sanitizer_finish_switch_fiber(fake_stack_, &left->low_, &left->bytes_);
}
#else
void FiberContext::begins_on(char*, size_t) {}
void FiberContext::leaves_for(FiberContext&) {}
void FiberContext::entered() {}
#endif

#if defined(NEARCELL_FIBER_UCONTEXT)

void FiberContext::start(char* stack, size_t bytes, void (*entry)()) {
    begins_on(stack, bytes);
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack;
    context_.uc_stack.ss_size = bytes;
    context_.uc_link = nullptr;
    makecontext(&context_, entry, 0);
}

void FiberContext::switch_to(FiberContext& next) {
    leaves_for(next);
    swapcontext(&context_, &next.context_);
    entered();
}

#else

void FiberContext::start(char* stack, size_t bytes, void (*entry)()) {
    begins_on(stack, bytes);
    constexpr int kSavedRegisters = 6;
    char* const end = stack + bytes;
    void** top = reinterpret_cast<void**>(end - reinterpret_cast<uintptr_t>(end) % 16);
    *--top = nullptr;  // a function begins with its stack 8 off a multiple of 16
    *--top = reinterpret_cast<void*>(entry);
    for (int i = 0; i < kSavedRegisters; ++i)
        *--top = nullptr;
    stack_pointer_ = top;
}

void FiberContext::switch_to(FiberContext& next) {
    leaves_for(next);
    nearcell_fiber_switch(&stack_pointer_, next.stack_pointer_);
    entered();
}

#endif

namespace {
constexpr size_t kPage = 4096;
}

FiberStack::FiberStack(size_t bytes) : low_(nullptr), bytes_((bytes + kPage - 1) / kPage * kPage) {
    void* const memory = ::mmap(nullptr, bytes_ + kPage, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check(memory != MAP_FAILED, StatusCode::OutOfMemory, "no memory for a stack of ", bytes_,
          " bytes for an emulated thread");
    ::mprotect(memory, kPage, PROT_NONE);
    low_ = static_cast<char*>(memory) + kPage;
}

FiberStack::~FiberStack() {
    if (low_ != nullptr) ::munmap(low_ - kPage, bytes_ + kPage);
}

FiberStack::FiberStack(FiberStack&& other) noexcept
    : low_(std::exchange(other.low_, nullptr)), bytes_(other.bytes_) {}

}  // namespace nearcell::simt
