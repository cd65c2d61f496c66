// Atomics, and accesses that kernels make through the emulation instead of by themselves. Every
// atomic is a point where other threads may go on first.
#include <algorithm>
#include <cstring>
#include <type_traits>

#include <nearcell/gpu/simt/cuda_memory.h>
#include <nearcell/gpu/simt/runtime.h>

namespace nearcell::simt {
namespace {

template <class T>
T updated(AtomicOperation operation, T old, T value, T compare) {
    switch (operation) {
        case AtomicOperation::Add: return static_cast<T>(old + value);
        case AtomicOperation::Sub: return static_cast<T>(old - value);
        case AtomicOperation::Min: return std::min(old, value);
        case AtomicOperation::Max: return std::max(old, value);
        case AtomicOperation::Exchange: return value;
        case AtomicOperation::CompareExchange: return old == compare ? value : old;
        case AtomicOperation::And:
        case AtomicOperation::Or:
        case AtomicOperation::Xor: break;
    }
    if constexpr (std::is_integral_v<T>) {
        if (operation == AtomicOperation::And) return old & value;
        if (operation == AtomicOperation::Or) return old | value;
        return old ^ value;
    }
    return old;
}

}  // namespace

template <class T>
T atomic_update(T* address, AtomicOperation operation, T value, T compare) {
    const void* const code = __builtin_return_address(0);
    const InsideRuntime inside;
    yield_thread(code);
    check_access(address, sizeof(T), true, true, code);
    hear_at(address);
    publish_at(address);
    const T old = *address;
    *address = updated(operation, old, value, compare);
    return old;
}

template int atomic_update(int*, AtomicOperation, int, int);
template unsigned atomic_update(unsigned*, AtomicOperation, unsigned, unsigned);
template unsigned long long atomic_update(unsigned long long*, AtomicOperation, unsigned long long,
                                          unsigned long long);
template float atomic_update(float*, AtomicOperation, float, float);
template double atomic_update(double*, AtomicOperation, double, double);

void checked_load(void* to, const void* address, size_t bytes) {
    const void* const code = __builtin_return_address(0);
    const InsideRuntime inside;
    check_access(address, bytes, false, false, code);
    std::memcpy(to, address, bytes);
}

void checked_store(void* address, const void* from, size_t bytes) {
    const void* const code = __builtin_return_address(0);
    const InsideRuntime inside;
    check_access(address, bytes, true, false, code);
    std::memcpy(address, from, bytes);
}

void checked_relaxed_load(void* to, const void* address, size_t bytes) {
    const void* const code = __builtin_return_address(0);
    const InsideRuntime inside;
    yield_thread(code);
    check_access(address, bytes, false, true, code);
    hear_at(address);
    std::memcpy(to, address, bytes);
}

}  // namespace nearcell::simt
