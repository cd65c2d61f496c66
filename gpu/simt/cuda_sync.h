// CUDA's barriers and fences on the emulation. Part of its front door: include simt.h instead.
#pragma once

namespace nearcell::simt {

// A line of the source; as a default argument, that of the call. (std::source_location, which
// clang-tidy 14 does not know.)
struct CodeLine {
    const char* file = "";
    int line = 0;
    static constexpr CodeLine here(const char* file = __builtin_FILE(),
                                   int line = __builtin_LINE()) {
        return {file, line};
    }
};

// Returns how many threads voted for it. A vote is 0 or not.
int block_barrier(int vote, CodeLine where);
void named_barrier(int id, int threads, CodeLine where);
void warp_barrier(unsigned mask, CodeLine where);
void device_fence(CodeLine where);
[[noreturn]] void kernel_trap(CodeLine where);

}  // namespace nearcell::simt

// The line of the kernel that calls.
#define SIMT_WHERE ::nearcell::simt::CodeLine where = ::nearcell::simt::CodeLine::here()

inline void __syncthreads(SIMT_WHERE) { nearcell::simt::block_barrier(0, where); }
inline int __syncthreads_count(int vote, SIMT_WHERE) {
    return nearcell::simt::block_barrier(vote, where);
}
inline int __syncthreads_or(int vote, SIMT_WHERE) {
    return nearcell::simt::block_barrier(vote, where) != 0 ? 1 : 0;
}
inline int __syncthreads_and(int vote, SIMT_WHERE) {
    return nearcell::simt::block_barrier(vote == 0 ? 1 : 0, where) == 0 ? 1 : 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, SIMT_WHERE) {
    nearcell::simt::warp_barrier(mask, where);
}
inline void __threadfence(SIMT_WHERE) { nearcell::simt::device_fence(where); }
inline void __threadfence_block() {
}  // stores are seen at once; see emulator.h for what orders them
inline void __threadfence_system(SIMT_WHERE) { nearcell::simt::device_fence(where); }
[[noreturn]] inline void __trap(SIMT_WHERE) { nearcell::simt::kernel_trap(where); }
