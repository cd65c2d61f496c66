// The state that the parts of the emulation share; nobody else includes it. A launch has some
// blocks resident; each has warps of threads, each thread a fiber. All of them run on the thread of
// the operating system that launched, one at a time, while it holds device_mutex().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <nearcell/core/random.h>
#include <nearcell/gpu/simt/cuda_sync.h>
#include <nearcell/gpu/simt/emulator.h>
#include <nearcell/gpu/simt/fiber.h>

extern "C" char __executable_start, _end;  // the linker's: where the program lies

namespace nearcell::simt {

constexpr unsigned kLanes = 32;
constexpr unsigned kNamedBarriers = 16;
constexpr size_t kSharedSlot = size_t{512} << 10;  // address space for a block's shared memory
constexpr unsigned kMaxResident = 32;

struct Warp;
struct Block;

enum class State : uint8_t { Ready, Running, AtBlockBarrier, AtNamedBarrier, AtWarp, Exited };

struct AsyncCopy {
    char* target;
    const char* source;
    uint32_t bytes, valid;
    bool landed;
};

// What is known of a block's accesses: of each warp and each lane, up to which times they are
// ordered before what comes now (Warp::tick, Warp::clocks).
struct BlockHistory {
    std::vector<uint32_t> ticks;
    std::vector<std::array<uint32_t, kLanes>> clocks;
};
using Known = std::map<uint32_t, std::shared_ptr<const BlockHistory>>;  // by the block's serial

struct Thread {
    FiberContext context;
    char* stack = nullptr;
    size_t stack_bytes = 0;
    uint3 index{};
    unsigned number = 0, lane = 0;
    Warp* warp = nullptr;
    Block* block = nullptr;
    State state = State::Exited;
    // What it waits in, for reports.
    SiteKind waits_in{};
    CodeLine waits_at;
    uint32_t waits_for = 0;
    int votes = 0;                               // of the block barrier that it left last
    bool has_waited = false;                     // for the kernel before, where that matters
    std::shared_ptr<const Known> fenced;         // what its last fence made ready to be heard of
    std::vector<std::vector<AsyncCopy>> copies;  // committed groups, oldest first
    std::vector<AsyncCopy> open_copies;
};

// What a warp operation does once all lanes are there: reads and writes what each lane brought.
using LaneData = std::array<void*, kLanes>;
using WarpOperation = void (*)(const LaneData& data, uint32_t arrived);

struct Meeting {  // lanes that wait for each other
    uint32_t mask, arrived;
    SiteKind kind;
    WarpOperation operation;
    CodeLine where;
    LaneData data;
};

struct Warp {
    std::array<Thread*, kLanes> lanes{};
    uint32_t exists = 0, live = 0;
    std::vector<Meeting> meetings;
    std::vector<Thread*> ready;  // Order::WarpPriority
    uint64_t priority = 0;
    unsigned number = 0;
    // Which accesses are ordered: clocks[a][b] says up to which of its own times lane a has heard
    // of lane b (__syncwarp); the tick counts barriers that the whole warp has passed.
    uint32_t clocks[kLanes][kLanes] = {};
    uint32_t tick = 0;
};

struct SharedVariable {
    const void* key;
    size_t offset, bytes;
    const char* name;
};

struct NamedBarrier {
    int expected = 0;
    std::vector<Thread*> waiting;
};

struct Block {
    uint3 index{};
    uint32_t serial = 0;  // unique in the process; 0 is none
    bool active = false;
    unsigned live = 0;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    // [warp][of warp]: what was before that tick is ordered before what the warp does now.
    std::vector<uint32_t> heard;
    // The block barrier.
    std::vector<Thread*> waiting;
    int votes = 0;
    CodeLine barrier;
    std::array<NamedBarrier, kNamedBarriers> named;
    // Shared memory: the dynamic part first, then static variables as they are met, gaps between.
    char* shared = nullptr;
    size_t dynamic_bytes = 0, static_bytes = 0, used_end = 0;
    std::vector<SharedVariable> variables;
    Known known;  // of other blocks
};
constexpr size_t kDynamicOffset = 256;  // a gap before it, too

struct LaunchState {
    const char* kernel = "";
    const void* function = nullptr;
    dim3 grid, block;
    size_t dynamic_bytes = 0;
    void (*body)(void*) = nullptr;
    void* closure = nullptr;
    size_t closure_bytes = 0;
    bool early = false;
    Order order = Order::Random;
    std::vector<std::unique_ptr<Block>> resident;
    uint64_t blocks_done = 0;
    uint32_t first_serial = 1;
    uint64_t yields = 0;
    bool failed = false;
    Report report;
};

extern LaunchState launch_state;
extern Thread* current;  // null: the scheduler or the host runs
// An instrumented access of this thread now is a kernel's own: host code of other threads is not.
extern constinit thread_local bool checks_on;
extern Random order_random;  // seeded at each launch
extern Counters counts;
std::recursive_mutex& device_mutex();
using DeviceLock = std::lock_guard<std::recursive_mutex>;

// The emulation's own code may share inline functions with instrumented code: no access is a
// kernel's while one of these lives.
class InsideRuntime {
   public:
    InsideRuntime() : before_(checks_on) { checks_on = false; }
    ~InsideRuntime() { checks_on = before_; }
    InsideRuntime(const InsideRuntime&) = delete;
    InsideRuntime& operator=(const InsideRuntime&) = delete;

   private:
    bool before_;
};

// scheduler.cpp
void make_ready(Thread* thread);
void clear_ready();
void run_until_done();                // in the host's context: until nothing can run or a fault
void leave();                         // the current thread stops here until it is made ready
[[noreturn]] void abandon();          // the launch has failed: never comes back
void yield_thread(const void* code);  // others may go on first; of an instruction that may spin
std::string deadlock_text();

// report.cpp: a fault of the current thread. Says so and returns; then call abandon(), which leaves
// no destructor of the caller undone that owns memory.
void record_fault(Fault fault, std::string message, CodeLine where);
void record_fault(Fault fault, std::string message, const void* address,
                  uint32_t other_address = 0);
uint32_t code_address(const void* address);
[[noreturn]] void throw_fault(Fault fault, std::string message);  // of a host call

// barriers.cpp
bool passes(SiteKind kind, CodeLine where);  // false: Config::without names it
void forget_sites();
void thread_exits(Thread* thread);

// publication.cpp: what one block may know of another
void prepare_publication();            // a fence
void publish_at(const void* address);  // an atomic there tells what the thread has fenced ...
void hear_at(const void* address);     // ... to those that come there later
bool is_known(const Known& known, uint32_t block, unsigned thread, uint32_t tick, uint32_t clock);
void forget_publications();

// warp.cpp
void meet(uint32_t mask, SiteKind kind, WarpOperation operation, void* data, CodeLine where);
void meet_without(Warp& warp);  // a lane has exited: who waited for it goes on

// shared_memory.cpp
void start_shared_memory(Block& block);
void check_launch_shared_memory(const LaunchState& launch);
size_t shared_memory_limit(int architecture);
void forget_shared_limits();
const SharedVariable* find_shared(const Block& block, const char* address, size_t bytes);

// device_memory.cpp
struct Allocation {
    char* address;
    size_t bytes;
    uint32_t number;
    bool live;
};
struct Arena {
    char* begin = nullptr;  // shared memory, then device memory
    char* device = nullptr;
    char* end = nullptr;
    bool contains(const void* address) const {
        return static_cast<size_t>(static_cast<const char*>(address) - begin) <
               static_cast<size_t>(end - begin);
    }
};
extern Arena reserved;
void reserve_arena();
inline const Arena& arena() {
    if (reserved.begin == nullptr) reserve_arena();
    return reserved;
}
const Allocation* find_allocation(const char* address);  // of the 256 bytes around it, if any
void empty_device();
void drop_pages(void* begin, void* end);  // back to the system; they read as zeros then
char* allocate_bytes(size_t bytes);
void free_bytes(void* address);
void check_device_range(const void* address, size_t bytes, const char* call);

// access_check.cpp
constexpr size_t kShadowWord = 4;  // accesses are remembered for each four bytes
void reserve_shadow(size_t words);
void forget_memory(const void* address, size_t bytes);  // nothing there is written
void drop_history(const char* begin, const char* end);  // of memory that is given back
void host_wrote(const void* address, size_t bytes);
void check_access(const void* address, size_t bytes, bool write, bool atomic, const void* code);
void async_copy_begins(const void* address, size_t bytes, const void* code);
void async_copy_ends(const void* address, size_t bytes, const void* code);

// streams.cpp
void empty_streams();
bool is_pinned(const void* host, size_t bytes);  // all of them, in one allocation

}  // namespace nearcell::simt
