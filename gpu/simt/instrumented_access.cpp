// The calls that -fsanitize=thread puts before the memory accesses of a kernel. They are defined
// here, and libtsan is not linked, so each access comes to check_access(). In host code they return
// at once.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <nearcell/gpu/simt/runtime.h>

namespace nearcell::simt {
namespace {

void seen(const void* address, size_t bytes, bool write, const void* code) {
    if (!checks_on) return;
    const InsideRuntime inside;
    const unsigned one_in = config().preempt_one_in;
    if (one_in != 0 && arena().contains(address) && order_random.below(one_in) == 0)
        yield_thread(code);
    check_access(address, bytes, write, false, code);
}

}  // namespace
}  // namespace nearcell::simt

using nearcell::simt::seen;

// NOLINTBEGIN(bugprone-reserved-identifier,bugprone-macro-parentheses): the names are the
// compiler's, and types do not stand in parentheses.
#define SIMT_CODE __builtin_return_address(0)
#define SIMT_ACCESSES(BYTES)                                                                     \
    void __tsan_read##BYTES(void* address) { seen(address, BYTES, false, SIMT_CODE); }           \
    void __tsan_write##BYTES(void* address) { seen(address, BYTES, true, SIMT_CODE); }           \
    void __tsan_unaligned_read##BYTES(void* address) { seen(address, BYTES, false, SIMT_CODE); } \
    void __tsan_unaligned_write##BYTES(void* address) { seen(address, BYTES, true, SIMT_CODE); } \
    void __tsan_volatile_read##BYTES(void* address) { seen(address, BYTES, false, SIMT_CODE); }  \
    void __tsan_volatile_write##BYTES(void* address) { seen(address, BYTES, true, SIMT_CODE); }

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
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
SIMT_ACCESSES(1)
SIMT_ACCESSES(2)
SIMT_ACCESSES(4)
SIMT_ACCESSES(8)
SIMT_ACCESSES(16)
void __tsan_read_range(void* address, size_t bytes) { seen(address, bytes, false, SIMT_CODE); }
void __tsan_write_range(void* address, size_t bytes) { seen(address, bytes, true, SIMT_CODE); }
SIMT_ATOMICS(uint8_t, 8)
SIMT_ATOMICS(uint32_t, 32)
SIMT_ATOMICS(uint64_t, 64)
}
// NOLINTEND(bugprone-reserved-identifier,bugprone-macro-parentheses)
