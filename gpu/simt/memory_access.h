// Accesses that plain CUDA C++ does not say: of 16 bytes at once, ones that may race by design, and
// barriers among some warps of a block. For kernels, by simt.h.
#pragma once

namespace nearcell::simt {

#if defined(__CUDACC__)

// One access of 16 bytes; T has 16 bytes, the address is a multiple of 16.
template <class T>
SIMT_DEVICE T load16(const T* address) {
    static_assert(sizeof(T) == 16);
    return *address;
}
template <class T>
SIMT_DEVICE void store16(T* address, T value) {
    static_assert(sizeof(T) == 16);
    *address = value;
}

// A read that may race with atomics by design: of a threshold that only ever tightens, for one.
template <class T>
SIMT_DEVICE T load_relaxed(const T* address) {
    return *const_cast<const volatile T*>(address);
}

// bar.sync: `threads` threads, whole warps, meet in barrier `id` of 0 to 15; 0 is __syncthreads's.
SIMT_DEVICE void named_barrier_sync(int id, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

#else

template <class T>
SIMT_DEVICE T load16(const T* address) {
    static_assert(sizeof(T) == 16);
    T value;
    checked_load(&value, address, sizeof(T));
    return value;
}
template <class T>
SIMT_DEVICE void store16(T* address, std::type_identity_t<T> value) {
    static_assert(sizeof(T) == 16);
    checked_store(address, &value, sizeof(T));
}

template <class T>
SIMT_DEVICE T load_relaxed(const T* address) {
    T value;
    checked_relaxed_load(&value, address, sizeof(T));
    return value;
}

inline void named_barrier_sync(int id, int threads, SIMT_WHERE) {
    named_barrier(id, threads, where);
}

#endif

}  // namespace nearcell::simt
