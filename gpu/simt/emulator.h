// What a test says to the emulation and hears from it. Kernels run as they do on a GPU, but in a
// seeded order; the first fault that a launch meets ends it with a FaultError, which carries a
// Report. Only tests include this header: kernels include simt.h, host code host.h.
//
//     simt::reset();                       // an empty device, Config as below
//     simt::config().seed = 7;
//     try { host code } catch (const simt::FaultError& error) { ... error.report() ... }
//
// Cost: a change of stacks for each barrier, shuffle or atomic of a thread, and a look-up for each
// memory access: tens of nanoseconds, so that tests have some 10^5 of them. Thread safety: one
// launch at a time; others wait. Configure from one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#include <nearcell/gpu/simt/cuda_types.h>

namespace nearcell::simt {

// The order in which threads that can run are taken, at each point where they wait for each other.
enum class Order : uint8_t {
    Ascending,     // by their number
    Descending,    // the last that became ready first
    Random,        // any
    WarpPriority,  // any lane of the warp of highest rank, which is random: one may run far ahead
    Mixed,         // the seed chooses Random (one of four) or WarpPriority
};

enum class SiteKind : uint8_t {
    BlockBarrier,  // __syncthreads
    WarpBarrier,   // __syncwarp
    NamedBarrier,
    Fence,      // __threadfence
    AsyncWait,  // cp_async_wait
    Shuffle,
    Vote,
    Reduce,
    Matrix,
};

// A line that orders threads or memory, and how often it was executed.
struct Site {
    std::string file;
    int line = 0;
    SiteKind kind = SiteKind::BlockBarrier;
    uint64_t count = 0;
};

struct Config {
    uint64_t seed = 1;
    Order order = Order::Mixed;
    // How many blocks run interleaved, at most 32.
    int resident_blocks = 1;
    // Other threads may go on before one of so many memory accesses, too; 0: before none.
    unsigned preempt_one_in = 0;
    // Whose limits hold: 75, 80, 86, 89, 90, 100 or 120.
    int architecture = 90;
    // Whether threads may return while others still meet in barriers.
    bool may_exit_before_barrier = false;
    // Work runs when the host waits, in a seeded order of streams.
    bool deferred_streams = false;
    // Allocations beyond it fail.
    size_t device_bytes = size_t{4} << 30;
    size_t pinned_bytes = size_t{64} << 30;
    // Of one thread.
    size_t stack_bytes = size_t{128} << 10;
    // A launch that goes on after so many atomics and relaxed reads counts as one without an end.
    uint64_t most_yields = 100000000;
    // This line is not executed: does anything notice that it is missing?
    Site without;
};

enum class Fault : uint8_t {
    Race,               // two accesses, at least one a write, that nothing orders
    DivergentBarrier,   // threads of a block meet at different __syncthreads
    MissedBarrier,      // threads returned that others wait for
    MissedWait,         // launched early, a kernel goes on without wait_for_previous()
    Deadlock,           // nobody can go on
    BadMask,            // a warp operation outside its mask, or with something else
    AbsentLane,         // a shuffle reads a lane that does not take part
    OutOfBounds,        // an address beside a variable or allocation
    UseAfterFree,       // an address of an allocation that is gone
    UnwrittenRead,      // memory that nothing has written, or that a copy is still writing
    HostMemory,         // an address of the host's
    Misaligned,         // an address that is no multiple of the access's size
    SharedMemoryLimit,  // more shared memory than the launch or the architecture allows
    InvalidLaunch,      // a grid or block that no GPU takes
    InvalidCopy,        // a host call with a pointer or size that does not fit
    Unsupported,        // an instruction that the architecture lacks
    Trap,               // __trap(), or an exception in a kernel
};
const char* fault_name(Fault fault);

struct SourceLine {
    std::string file;  // empty: not known
    int line = 0;
};

struct Report {
    Fault fault = Fault::Trap;
    std::string kernel;       // empty: a host call, not a launch
    uint3 block{}, thread{};  // which met the fault
    std::string message;
    // Where it was met, and where the access is that it conflicts with. Found when asked for.
    SourceLine source() const;
    SourceLine other_source() const;
    std::string text() const;  // all of it, some lines

    SourceLine known;                         // the source line, where a barrier or a shuffle is it
    uint32_t address = 0, other_address = 0;  // else: of the instruction, from the program's start
};

class FaultError : public std::exception {
   public:
    explicit FaultError(Report report) : report_(std::move(report)) {}
    const Report& report() const { return report_; }
    Fault fault() const { return report_.fault; }
    const char* what() const noexcept override;

   private:
    Report report_;
    mutable std::string text_;
};

Config& config();

// Empties the device: allocations, queued work, recorded sites and counts; Config as above.
void reset();

// The lines met since reset() that order something, in the order in which they were first met.
std::vector<Site> sites();

struct Counters {
    uint64_t launches = 0, blocks = 0, threads = 0, switches = 0, accesses = 0;
    size_t static_shared_bytes = 0, dynamic_shared_bytes = 0;  // the most that a block has used
    size_t device_bytes = 0, peak_device_bytes = 0;            // allocated now, and at most
    uint64_t streams = 0, pinned_arrays = 0;                   // made, those that are gone, too
};
const Counters& counters();
size_t pinned_bytes();  // now, those of before the last reset(), too

}  // namespace nearcell::simt
