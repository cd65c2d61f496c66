// Kernels that start before the one before them in their stream has ended (LaunchShape::early,
// sm_90): what a start costs passes meanwhile. For kernels, by simt.h.
#pragma once

namespace nearcell::simt {

#if defined(__CUDACC__)

// Until all that the stream was given before has ended and can be seen; then the next kernel may
// start. What may be launched early calls this first, in all threads, also those with nothing to
// do: a kernel that ended without would let the next one begin before what it needs is there.
// Launched otherwise it returns at once. The next kernel's blocks come behind all of this one's.
SIMT_DEVICE void wait_for_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

#else

// Of a kernel that was launched early, an access to global memory before this is a fault, and so is
// a thread that returns without.
void wait_for_previous();

#endif

}  // namespace nearcell::simt
