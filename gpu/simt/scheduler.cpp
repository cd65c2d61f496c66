// Which thread runs next. Threads wait in lists; one that leaves hands over to the next directly,
// and to the host's context when none can run.
#include <algorithm>
#include <map>
#include <sstream>

#include <nearcell/gpu/simt/runtime.h>

namespace nearcell::simt {

LaunchState launch_state;
Thread* current = nullptr;
bool checks_on = false;
Random order_random(1);

namespace {

FiberContext host_context;
std::vector<Thread*> ready;
size_t ready_begin = 0;  // Order::Ascending takes from the front
std::vector<Warp*> ready_warps;
uint64_t lowest_priority = 0;  // each warp that is demoted gets a lower rank than undemoted ones
constexpr uint64_t kUndemoted = uint64_t{1} << 62;

template <class T>
T take(std::vector<T>& from, size_t at) {
    T taken = from[at];
    from[at] = from.back();
    from.pop_back();
    return taken;
}

Thread* pick_by_warp() {
    if (ready_warps.empty()) return nullptr;
    constexpr uint64_t kDemoteOneIn = 1024;
    const auto best =
        std::max_element(ready_warps.begin(), ready_warps.end(),
                         [](const Warp* a, const Warp* b) { return a->priority < b->priority; });
    Warp* const warp = *best;
    Thread* const thread = take(warp->ready, order_random.below(warp->ready.size()));
    if (warp->ready.empty()) take(ready_warps, static_cast<size_t>(best - ready_warps.begin()));
    if (order_random.below(kDemoteOneIn) == 0) warp->priority = ++lowest_priority;
    return thread;
}

Thread* pick() {
    if (launch_state.order == Order::WarpPriority) return pick_by_warp();
    if (ready_begin == ready.size()) {
        ready.clear();
        ready_begin = 0;
        return nullptr;
    }
    switch (launch_state.order) {
        case Order::Ascending: return ready[ready_begin++];
        case Order::Descending: return take(ready, ready.size() - 1);
        default: return take(ready, order_random.below(ready.size()));
    }
}

void hand_over(FiberContext& from, Thread* next) {
    ++mutable_counters().switches;
    current = next;
    if (next == nullptr) {
        from.switch_to(host_context);
    } else {
        next->state = State::Running;
        from.switch_to(next->context);
    }
}

}  // namespace

void make_ready(Thread* thread) {
    thread->state = State::Ready;
    if (launch_state.order != Order::WarpPriority) {
        ready.push_back(thread);
        return;
    }
    Warp& warp = *thread->warp;
    if (warp.priority == 0) warp.priority = order_random.next() | kUndemoted;
    if (warp.ready.empty()) ready_warps.push_back(&warp);
    warp.ready.push_back(thread);
}

void clear_ready() {
    ready.clear();
    ready_begin = 0;
    ready_warps.clear();
    lowest_priority = 0;
}

void run_until_done() {
    if (Thread* const first = pick()) hand_over(host_context, first);
}

void leave() {
    Thread* const me = current;
    Thread* const next = pick();
    if (next == me) {
        me->state = State::Running;
        return;
    }
    hand_over(me->context, next);
}

void abandon() {
    for (;;)
        hand_over(current->context, nullptr);
}

void yield_thread() {
    make_ready(current);
    leave();
}

namespace {

const char* kind_name(SiteKind kind) {
    switch (kind) {
        case SiteKind::BlockBarrier: return "__syncthreads";
        case SiteKind::WarpBarrier: return "__syncwarp";
        case SiteKind::NamedBarrier: return "named_barrier_sync";
        case SiteKind::Fence: return "__threadfence";
        case SiteKind::AsyncWait: return "cp_async_wait";
        case SiteKind::Shuffle: return "a shuffle";
        case SiteKind::Vote: return "a vote";
        case SiteKind::Reduce: return "a reduction";
        case SiteKind::Matrix: return "a matrix operation";
    }
    return "?";
}

std::string place(const Thread& thread) {
    std::ostringstream text;
    text << "block " << thread.block->index.x << ' ' << thread.block->index.y << ' '
         << thread.block->index.z << ", ";
    if (thread.state == State::Exited) {
        text << "returned";
        return text.str();
    }
    text << "in " << kind_name(thread.waits_in) << " at " << thread.waits_at.file << ':'
         << thread.waits_at.line;
    if (thread.state == State::AtWarp) text << " with mask 0x" << std::hex << thread.waits_for;
    return text.str();
}

}  // namespace

std::string deadlock_text() {
    std::map<std::string, std::vector<unsigned>> groups;
    for (const auto& block : launch_state.resident) {
        if (!block->active) continue;
        for (const Thread& thread : block->threads)
            groups[place(thread)].push_back(thread.number);
    }
    std::ostringstream text;
    text << "no thread can go on";
    for (const auto& [where, threads] : groups) {
        text << "\n    " << where << ": " << threads.size() << " threads, " << threads.front()
             << " to " << threads.back();
    }
    return text.str();
}

}  // namespace nearcell::simt
