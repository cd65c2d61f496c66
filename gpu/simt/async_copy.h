// cp.async: copies from global to shared memory that a thread starts and waits for later (sm_80;
// before it they are plain copies). A thread sees its own bytes after cp_async_wait, others after a
// barrier that follows it. On the emulation the bytes land at once or only at the wait, as the seed
// wills, and a read before is a fault. For kernels, by simt.h.
#pragma once

namespace nearcell::simt {

#if defined(__CUDACC__)

// Starts a copy of Bytes bytes: 4, 8 or 16, both addresses its multiples. Only the first `valid`
// are read; the others become 0.
template <int Bytes>
SIMT_DEVICE void cp_async(void* shared, const void* global, unsigned valid = Bytes) {
    static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16);
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    const auto to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    if constexpr (Bytes == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global),
                     "r"(valid)
                     : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(global),
                     "n"(Bytes), "r"(valid)
                     : "memory");
    }
#else
    const auto* from = static_cast<const unsigned char*>(global);
    auto* to = static_cast<unsigned char*>(shared);
    if (valid == Bytes) {
        if constexpr (Bytes == 16)
            *static_cast<uint4*>(shared) = *static_cast<const uint4*>(global);
        if constexpr (Bytes == 8) *static_cast<uint2*>(shared) = *static_cast<const uint2*>(global);
        if constexpr (Bytes == 4)
            *static_cast<unsigned*>(shared) = *static_cast<const unsigned*>(global);
    } else {
        for (unsigned i = 0; i < Bytes; ++i)
            to[i] = i < valid ? from[i] : static_cast<unsigned char>(0);
    }
#endif
}

// Makes a group of the copies that this thread has started since the last one.
SIMT_DEVICE void cp_async_commit() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Until at most Groups groups of this thread are under way.
template <int Groups>
SIMT_DEVICE void cp_async_wait() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(Groups) : "memory");
#endif
}

#else

void start_copy(void* shared, const void* global, unsigned bytes, unsigned valid);
void commit_copies();
void wait_for_copies(int groups, CodeLine where);

template <int Bytes>
SIMT_DEVICE void cp_async(void* shared, const void* global, unsigned valid = Bytes) {
    static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16);
    start_copy(shared, global, Bytes, valid);
}
SIMT_DEVICE void cp_async_commit() { commit_copies(); }
template <int Groups>
void cp_async_wait(SIMT_WHERE) {
    wait_for_copies(Groups, where);
}

#endif

}  // namespace nearcell::simt
