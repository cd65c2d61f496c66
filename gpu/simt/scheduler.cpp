// Which thread runs next. Threads wait in lists; one that leaves hands over to the next directly,
// and to the host's context when none can run.
#include <algorithm>
#include <map>
#include <sstream>

#include <nearcell/gpu/simt/runtime.h>

namespace nearcell::simt {

LaunchState launch_state;
Thread* current = nullptr;
constinit thread_local bool checks_on = false;
Random order_random(1);

namespace {

FiberContext host_context;
std::vector<Thread*> ready;
size_t ready_begin = 0;  // Order::Ascending takes from the front
std::vector<Warp*> ready_warps;
Warp* first_warp = nullptr;  // the one of them with the highest priority; null: not known
// Every warp that is demoted comes after all others, so that one that spins cannot keep them
// waiting.
constexpr uint64_t kUndemoted = uint64_t{1} << 62;
uint64_t lowest_priority = kUndemoted;

template <class T>
T take(std::vector<T>& from, size_t at) {
    T taken = from[at];
    from[at] = from.back();
    from.pop_back();
    return taken;
}

bool comes_later(const Warp* a, const Warp* b) { return a->priority < b->priority; }

Thread* pick_by_warp() {
    if (ready_warps.empty()) return nullptr;
    constexpr uint64_t kDemoteOneIn = 1024;
    if (first_warp == nullptr)
        first_warp = *std::max_element(ready_warps.begin(), ready_warps.end(), comes_later);
    Warp* const warp = first_warp;
    Thread* const thread = take(warp->ready, order_random.below(warp->ready.size()));
    if (warp->ready.empty()) std::erase(ready_warps, warp);
    const bool demoted = order_random.below(kDemoteOneIn) == 0;
    if (demoted) warp->priority = --lowest_priority;
    if (demoted || warp->ready.empty()) first_warp = nullptr;
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
    ++counts.switches;
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
    if (warp.ready.empty()) {
        ready_warps.push_back(&warp);
        if (first_warp != nullptr && comes_later(first_warp, &warp)) first_warp = &warp;
    }
    warp.ready.push_back(thread);
}

void clear_ready() {
    ready.clear();
    ready_begin = 0;
    ready_warps.clear();
    first_warp = nullptr;
    lowest_priority = kUndemoted;
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

void yield_thread(const void* code) {
    if (++launch_state.yields > config().most_yields) {
        record_fault(Fault::Deadlock, "no end after as many atomics and relaxed reads as allowed",
                     code);
        abandon();
    }
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
