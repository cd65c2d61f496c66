// The calls that -fsanitize=thread puts before the memory accesses of a kernel. They are defined
// here, and libtsan is not linked, so each access comes to check_access(). In host code they return
// at once, or, in a build with ASan, hand it the address. In one with TSan, libtsan is linked; the
// linker leads all such calls here (--wrap), and those of host code go on to libtsan.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <nearcell/gpu/simt/runtime.h>

namespace nearcell::simt {
namespace {

void seen(const void* address, size_t bytes, bool write, const void* code) {
    const InsideRuntime inside;
    const unsigned one_in = config().preempt_one_in;
    if (one_in != 0 && arena().contains(address) && order_random.below(one_in) == 0)
        yield_thread(code);
    check_access(address, bytes, write, false, code);
}

}  // namespace
}  // namespace nearcell::simt

using nearcell::simt::checks_on;
using nearcell::simt::seen;

// NOLINTBEGIN(bugprone-reserved-identifier,bugprone-macro-parentheses): the names are the
// compiler's, and types do not stand in parentheses.
#define SIMT_SEEN(BYTES, WRITE) seen(address, BYTES, WRITE, __builtin_return_address(0))
#if defined(SIMT_WITH_TSAN)  // handed on by a jump, so that the return address stays
#define SIMT_ACCESS(NAME, BYTES, WRITE)                \
    void __real___tsan_##NAME##BYTES(void* address);   \
    void __wrap___tsan_##NAME##BYTES(void* address) {  \
        if (checks_on) return SIMT_SEEN(BYTES, WRITE); \
        __real___tsan_##NAME##BYTES(address);          \
    }
#define SIMT_RANGE(NAME, WRITE)                              \
    void __real___tsan_##NAME(void* address, size_t bytes);  \
    void __wrap___tsan_##NAME(void* address, size_t bytes) { \
        if (checks_on) return SIMT_SEEN(bytes, WRITE);       \
        __real___tsan_##NAME(address, bytes);                \
    }
#else
#if defined(SIMT_WITH_ASAN)
extern "C" void __asan_loadN(void* address, size_t bytes);
extern "C" void __asan_storeN(void* address, size_t bytes);
#define SIMT_HOST(BYTES, WRITE) \
    ((WRITE) ? __asan_storeN(address, BYTES) : __asan_loadN(address, BYTES))
#else
#define SIMT_HOST(BYTES, WRITE) void()
#endif
#define SIMT_ACCESS(NAME, BYTES, WRITE)                                       \
    void __tsan_##NAME##BYTES(void* address) {                                \
        return checks_on ? SIMT_SEEN(BYTES, WRITE) : SIMT_HOST(BYTES, WRITE); \
    }
#define SIMT_RANGE(NAME, WRITE)                                               \
    void __tsan_##NAME(void* address, size_t bytes) {                         \
        return checks_on ? SIMT_SEEN(bytes, WRITE) : SIMT_HOST(bytes, WRITE); \
    }
#endif
#define SIMT_ALIGNED(BYTES)         \
    SIMT_ACCESS(read, BYTES, false) \
    SIMT_ACCESS(write, BYTES, true)
#define SIMT_ACCESSES(BYTES)                  \
    SIMT_ALIGNED(BYTES)                       \
    SIMT_ACCESS(unaligned_read, BYTES, false) \
    SIMT_ACCESS(unaligned_write, BYTES, true)

// std::atomic of host code in the same file: as if it had not been instrumented.
#define SIMT_ATOMICS(TYPE, BITS)                                                                  \
    TYPE __tsan_atomic##BITS##_load(const volatile TYPE* p, int) {                                \
        return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                              \
    }                                                                                             \
    void __tsan_atomic##BITS##_store(volatile TYPE* p, TYPE value, int) {                         \
        __atomic_store_n(p, value, __ATOMIC_SEQ_CST);                                             \
    }                                                                                             \
    TYPE __tsan_atomic##BITS##_exchange(volatile TYPE* p, TYPE value, int) {                      \
        return __atomic_exchange_n(p, value, __ATOMIC_SEQ_CST);                                   \
    }                                                                                             \
    TYPE __tsan_atomic##BITS##_fetch_add(volatile TYPE* p, TYPE value, int) {                     \
        return __atomic_fetch_add(p, value, __ATOMIC_SEQ_CST);                                    \
    }                                                                                             \
    TYPE __tsan_atomic##BITS##_fetch_sub(volatile TYPE* p, TYPE value, int) {                     \
        return __atomic_fetch_sub(p, value, __ATOMIC_SEQ_CST);                                    \
    }                                                                                             \
    int __tsan_atomic##BITS##_compare_exchange_strong(volatile TYPE* p, TYPE* expected,           \
                                                      TYPE value, int, int) {                     \
        return __atomic_compare_exchange_n(p, expected, value, false, __ATOMIC_SEQ_CST,           \
                                           __ATOMIC_SEQ_CST);                                     \
    }                                                                                             \
    int __tsan_atomic##BITS##_compare_exchange_weak(volatile TYPE* p, TYPE* expected, TYPE value, \
                                                    int, int) {                                   \
        return __atomic_compare_exchange_n(p, expected, value, true, __ATOMIC_SEQ_CST,            \
                                           __ATOMIC_SEQ_CST);                                     \
    }

extern "C" {
SIMT_ALIGNED(1)
SIMT_ACCESSES(2)
SIMT_ACCESSES(4)
SIMT_ACCESSES(8)
SIMT_ACCESSES(16)
SIMT_RANGE(read_range, false)
SIMT_RANGE(write_range, true)
#if !defined(SIMT_WITH_TSAN)
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
SIMT_ATOMICS(uint8_t, 8)
SIMT_ATOMICS(uint32_t, 32)
SIMT_ATOMICS(uint64_t, 64)
#endif
}
// NOLINTEND(bugprone-reserved-identifier,bugprone-macro-parentheses)
