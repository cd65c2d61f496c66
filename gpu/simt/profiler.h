// Says to a profiler that waits for it (ncu --profile-from-start off) where to begin and to end.
// Nothing on the emulation. Thread safety: CUDA's, one at a time.
#pragma once

#ifdef NEARCELL_CUDA
#include <cuda_profiler_api.h>
#endif

namespace nearcell::simt {

inline void start_profiling() {
#ifdef NEARCELL_CUDA
    cudaProfilerStart();
#endif
}
inline void stop_profiling() {
#ifdef NEARCELL_CUDA
    cudaProfilerStop();
#endif
}

}  // namespace nearcell::simt
