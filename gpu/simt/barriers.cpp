// Barriers among the threads of a block, fences, and what a thread's return means to those that
// wait.
#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include <nearcell/gpu/simt/cuda_sync.h>
#include <nearcell/gpu/simt/runtime.h>

namespace nearcell::simt {
namespace {

std::vector<Site> met_sites;
std::map<std::pair<const char*, int>, size_t> site_numbers;
const char* last_file = nullptr;  // most often the same line again
int last_line = 0;
size_t last_number = 0;

// The whole block has passed a barrier: what was before it is ordered before what comes.
void order_block(Block& block) {
    const size_t warps = block.warps.size();
    for (size_t of = 0; of < warps; ++of) {
        const uint32_t tick = ++block.warps[of].tick;
        for (size_t w = 0; w < warps; ++w)
            block.heard[w * warps + of] = tick;
    }
}

void release_block(Block& block) {
    order_block(block);
    for (Thread* const thread : block.waiting) {
        thread->votes = block.votes;
        make_ready(thread);
    }
    block.waiting.clear();
    block.votes = 0;
}

std::string thread_count(size_t count) {
    return count == 1 ? "1 thread" : std::to_string(count) + " threads";
}

// True when returned threads are missed; then the fault is recorded.
bool misses_threads(const Block& block) {
    if (block.live == block.threads.size() || config().may_exit_before_barrier) return false;
    record_fault(Fault::MissedBarrier,
                 thread_count(block.threads.size() - block.live) +
                     " of the block returned and never reach the __syncthreads in which " +
                     thread_count(block.waiting.size()) + " wait",
                 block.barrier);
    return true;
}

bool same_line(CodeLine a, CodeLine b) {
    return a.line == b.line && (a.file == b.file || std::string_view(a.file) == b.file);
}

bool diverges(const Block& block, CodeLine where) {
    if (block.waiting.empty() || same_line(block.barrier, where)) return false;
    record_fault(Fault::DivergentBarrier,
                 thread_count(block.waiting.size()) +
                     " of the block wait in the __syncthreads at " + block.barrier.file + ':' +
                     std::to_string(block.barrier.line),
                 where);
    return true;
}

void wait_in(State state, SiteKind kind, CodeLine where) {
    current->state = state;
    current->waits_in = kind;
    current->waits_at = where;
}

// The warps that met in a named barrier hear of each other, and of all that each has heard of.
void order_named(Block& block, const std::vector<Thread*>& met) {
    const size_t warps = block.warps.size();
    std::vector<bool> part(warps, false);
    for (const Thread* const thread : met)
        part[thread->warp->number] = true;
    std::vector<uint32_t> joined(warps, 0);
    for (size_t w = 0; w < warps; ++w) {
        if (!part[w]) continue;
        for (size_t of = 0; of < warps; ++of)
            joined[of] = std::max(joined[of], block.heard[w * warps + of]);
    }
    for (size_t w = 0; w < warps; ++w) {
        if (part[w]) joined[w] = ++block.warps[w].tick;
    }
    for (size_t w = 0; w < warps; ++w) {
        if (part[w]) std::copy(joined.begin(), joined.end(), &block.heard[w * warps]);
    }
}

bool bad_named_barrier(const NamedBarrier& barrier, int id, int threads, CodeLine where) {
    std::string problem;
    if (id < 0 || id >= static_cast<int>(kNamedBarriers)) {
        problem = "there are named barriers 0 to 15";
    } else if (threads <= 0 || threads % static_cast<int>(kLanes) != 0) {
        problem =
            "a named barrier is of whole warps, not of " + std::to_string(threads) + " threads";
    } else if (!barrier.waiting.empty() && barrier.expected != threads) {
        problem = "named barrier of " + std::to_string(threads) +
                  " threads, but others wait in it for " + std::to_string(barrier.expected);
    }
    if (problem.empty()) return false;
    record_fault(Fault::DivergentBarrier, std::move(problem), where);
    return true;
}

}  // namespace

bool passes(SiteKind kind, CodeLine where) {
    if (where.file != last_file || where.line != last_line) {
        last_file = where.file;
        last_line = where.line;
        const auto [found, fresh] =
            site_numbers.try_emplace({last_file, last_line}, met_sites.size());
        last_number = found->second;
        if (fresh) met_sites.push_back({last_file, last_line, kind, 0});
    }
    ++met_sites[last_number].count;
    const Site& without = config().without;
    return without.line != where.line || without.file != where.file;
}

void forget_sites() {
    met_sites.clear();
    site_numbers.clear();
    last_file = nullptr;
}

std::vector<Site> sites() { return met_sites; }

int block_barrier(int vote, CodeLine where) {
    const InsideRuntime inside;
    if (!passes(SiteKind::BlockBarrier, where)) return vote != 0 ? 1 : 0;
    Thread* const me = current;
    Block& block = *me->block;
    if (diverges(block, where)) abandon();
    block.barrier = where;
    wait_in(State::AtBlockBarrier, SiteKind::BlockBarrier, where);
    block.waiting.push_back(me);
    block.votes += vote != 0 ? 1 : 0;
    if (block.waiting.size() == block.live) {
        if (misses_threads(block)) abandon();
        release_block(block);
    }
    leave();
    return me->votes;
}

void named_barrier(int id, int threads, CodeLine where) {
    const InsideRuntime inside;
    if (!passes(SiteKind::NamedBarrier, where)) return;
    Block& block = *current->block;
    NamedBarrier& barrier = block.named[static_cast<unsigned>(id) % kNamedBarriers];
    if (bad_named_barrier(barrier, id, threads, where)) abandon();
    barrier.expected = threads;
    wait_in(State::AtNamedBarrier, SiteKind::NamedBarrier, where);
    barrier.waiting.push_back(current);
    if (barrier.waiting.size() == static_cast<size_t>(threads)) {
        order_named(block, barrier.waiting);
        for (Thread* const thread : barrier.waiting)
            make_ready(thread);
        barrier.waiting.clear();
    }
    leave();
}

void device_fence(CodeLine where) {
    const InsideRuntime inside;
    if (!passes(SiteKind::Fence, where)) return;
    prepare_publication();
}

void thread_exits(Thread* thread) {
    Block& block = *thread->block;
    thread->state = State::Exited;
    thread->warp->live &= ~(1u << thread->lane);
    --block.live;
    meet_without(*thread->warp);
    if (block.live > 0 && block.waiting.size() == block.live) {
        if (misses_threads(block)) return;
        release_block(block);
    }
}

}  // namespace nearcell::simt
