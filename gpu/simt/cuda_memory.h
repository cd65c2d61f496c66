// Shared memory and atomics on the emulation. Part of its front door: include simt.h instead.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <nearcell/gpu/simt/cuda_sync.h>
#include <nearcell/gpu/simt/cuda_types.h>

namespace nearcell::simt {

// The current block's memory for the variable that `key` is the address of a name of.
void* shared_variable(const void* key, size_t bytes, size_t alignment, const char* name,
                      CodeLine where);
void* dynamic_shared_memory();

enum class AtomicOperation : uint8_t {
    Add,
    Sub,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exchange,
    CompareExchange
};

// Returns what was there before. Defined for int, unsigned, unsigned long long, float and double.
template <class T>
T atomic_update(T* address, AtomicOperation operation, T value, T compare);

// Accesses that the emulation makes, and checks, for the kernel. A relaxed one may race with
// atomics.
void checked_load(void* to, const void* address, size_t bytes);
void checked_store(void* address, const void* from, size_t bytes);
void checked_relaxed_load(void* to, const void* address, size_t bytes);

}  // namespace nearcell::simt

#define SIMT_SHARED(name, ...)                                                              \
    static const char simt_key_##name = 0;                                                  \
    std::type_identity_t<__VA_ARGS__>& name =                                               \
        *static_cast<std::type_identity_t<__VA_ARGS__>*>(::nearcell::simt::shared_variable( \
            &simt_key_##name, sizeof(std::type_identity_t<__VA_ARGS__>),                    \
            alignof(std::type_identity_t<__VA_ARGS__>), #name,                              \
            ::nearcell::simt::CodeLine{__FILE__, __LINE__}))
#define SIMT_DYNAMIC_SHARED(name, ...) \
    __VA_ARGS__* const name = static_cast<__VA_ARGS__*>(::nearcell::simt::dynamic_shared_memory())

#define SIMT_ATOMIC(NAME, OPERATION)                                            \
    template <class T>                                                          \
    __forceinline__ T NAME(T* address, std::type_identity_t<T> value) {         \
        return ::nearcell::simt::atomic_update(                                 \
            address, ::nearcell::simt::AtomicOperation::OPERATION, value, T{}); \
    }
SIMT_ATOMIC(atomicAdd, Add)
SIMT_ATOMIC(atomicSub, Sub)
SIMT_ATOMIC(atomicMin, Min)
SIMT_ATOMIC(atomicMax, Max)
SIMT_ATOMIC(atomicAnd, And)
SIMT_ATOMIC(atomicOr, Or)
SIMT_ATOMIC(atomicXor, Xor)
SIMT_ATOMIC(atomicExch, Exchange)
#undef SIMT_ATOMIC
template <class T>
__forceinline__ T atomicCAS(T* address, std::type_identity_t<T> compare,
                            std::type_identity_t<T> value) {
    return ::nearcell::simt::atomic_update(
        address, ::nearcell::simt::AtomicOperation::CompareExchange, T{value}, T{compare});
}
