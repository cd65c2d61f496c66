// A launch: checks its shape, gives every thread of the resident blocks a fiber, and starts blocks
// as others end.
#include <nearcell/gpu/simt/launch.h>

#include <algorithm>
#include <exception>
#include <numeric>
#include <string>

#include <nearcell/gpu/simt/cuda_sync.h>
#include <nearcell/gpu/simt/runtime.h>
#include <nearcell/gpu/simt/simt.h>

namespace nearcell::simt {
namespace {

std::vector<FiberStack> stacks;
uint32_t next_serial = 1;

void enter_thread() {
    current->context.entered();
    try {
        checks_on = true;
        launch_state.body(launch_state.closure);
        checks_on = false;
    } catch (const std::exception& error) {
        checks_on = false;
        record_fault(Fault::Trap, std::string("an exception in a kernel: ") + error.what(),
                     nullptr);
    }
    if (launch_state.failed) abandon();
    Thread* const me = current;
    if (!me->copies.empty() || !me->open_copies.empty()) {
        record_fault(Fault::UnwrittenRead,
                     "a thread returns before its cp_async copies are waited for", nullptr);
        abandon();
    }
    if (!me->has_waited) {
        record_fault(Fault::MissedWait,
                     "launched early, a thread returns without wait_for_previous()", nullptr);
        abandon();
    }
    thread_exits(me);
    if (launch_state.failed) abandon();
    if (me->block->live == 0) {
        me->block->active = false;
        ++launch_state.blocks_done;
        abandon();  // to the host, which starts another block here
    }
    leave();
    abandon();  // not reached: nobody makes an exited thread ready
}

void check_shape(const LaunchState& launch) {
    constexpr unsigned kMaxThreads = 1024, kMaxBlocks = 65535, kMaxDepth = 64;
    const dim3 grid = launch.grid, block = launch.block;
    const uint64_t threads = uint64_t{block.x} * block.y * block.z;
    if (uint64_t{grid.x} * grid.y * grid.z == 0 || threads == 0)
        throw_fault(Fault::InvalidLaunch, std::string(launch.kernel) + ": a dimension is 0");
    if (grid.x > 0x7fffffffu || grid.y > kMaxBlocks || grid.z > kMaxBlocks) {
        throw_fault(Fault::InvalidLaunch,
                    std::string(launch.kernel) + ": grid of " + std::to_string(grid.x) + " x " +
                        std::to_string(grid.y) + " x " + std::to_string(grid.z) +
                        " blocks, but y and z end at 65,535");
    }
    if (threads > kMaxThreads || block.x > kMaxThreads || block.z > kMaxDepth) {
        throw_fault(Fault::InvalidLaunch, std::string(launch.kernel) + ": " +
                                              std::to_string(threads) +
                                              " threads in a block, at most 1,024 (64 in z)");
    }
    if (launch.early && config().architecture < 90) {
        throw_fault(Fault::InvalidLaunch,
                    std::string(launch.kernel) + ": an early start needs sm_90");
    }
}

std::unique_ptr<Block> make_block(unsigned slot, dim3 shape) {
    auto block = std::make_unique<Block>();
    const unsigned count = shape.x * shape.y * shape.z;
    block->shared = arena().begin + slot * kSharedSlot;
    block->warps.resize((count + kLanes - 1) / kLanes);
    block->threads = std::vector<Thread>(count);
    for (unsigned w = 0; w < block->warps.size(); ++w)
        block->warps[w].number = w;
    for (unsigned number = 0; number < count; ++number) {
        Thread& thread = block->threads[number];
        thread.number = number;
        thread.lane = number % kLanes;
        thread.index = {number % shape.x, number / shape.x % shape.y, number / (shape.x * shape.y)};
        thread.block = block.get();
        thread.warp = &block->warps[number / kLanes];
        thread.warp->lanes[thread.lane] = &thread;
        thread.warp->exists |= 1u << thread.lane;
        const size_t at = size_t{slot} * count + number;
        while (stacks.size() <= at)
            stacks.emplace_back(config().stack_bytes);
        // Stacks of one size that begin alike would share one set of the first-level cache.
        constexpr size_t kStep = 320, kSteps = 100;
        thread.stack = stacks[at].low();
        thread.stack_bytes = stacks[at].bytes() - number % kSteps * kStep;
    }
    return block;
}

void start_warp(Warp& warp) {
    warp.live = warp.exists;
    warp.meetings.clear();
    warp.ready.clear();
    warp.priority = 0;
    warp.tick = 0;
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        std::fill_n(warp.clocks[lane], kLanes, 0u);
        warp.clocks[lane][lane] = 1;
    }
}

void start_block(Block& block, uint64_t number) {
    const dim3 grid = launch_state.grid;
    block.index = {static_cast<unsigned>(number % grid.x),
                   static_cast<unsigned>(number / grid.x % grid.y),
                   static_cast<unsigned>(number / grid.x / grid.y)};
    block.serial = next_serial++;
    block.active = true;
    block.live = static_cast<unsigned>(block.threads.size());
    block.votes = 0;
    block.known.clear();
    block.waiting.clear();
    block.heard.assign(block.warps.size() * block.warps.size(), 0);
    for (NamedBarrier& barrier : block.named)
        barrier.waiting.clear();
    start_shared_memory(block);
    for (Warp& warp : block.warps)
        start_warp(warp);
    for (Thread& thread : block.threads) {
        thread.copies.clear();
        thread.open_copies.clear();
        thread.fenced.reset();
        thread.has_waited = !launch_state.early;
        thread.context.start(thread.stack, thread.stack_bytes, enter_thread);
        make_ready(&thread);
    }
    ++counts.blocks;
    counts.threads += block.threads.size();
}

std::vector<uint64_t> block_order(uint64_t blocks) {
    std::vector<uint64_t> order(blocks);
    std::iota(order.begin(), order.end(), uint64_t{0});
    if (launch_state.order == Order::Descending) std::reverse(order.begin(), order.end());
    if (launch_state.order == Order::Ascending || launch_state.order == Order::Descending)
        return order;
    for (uint64_t left = blocks; left > 1; --left)
        std::swap(order[left - 1], order[order_random.below(left)]);
    return order;
}

Order order_of_launch() {
    constexpr uint64_t kRandomOneIn = 4;
    if (config().order != Order::Mixed) return config().order;
    return order_random.below(kRandomOneIn) == 0 ? Order::Random : Order::WarpPriority;
}

void prepare_launch(const LaunchRequest& request) {
    launch_state.kernel = request.kernel;
    launch_state.function = request.function;
    launch_state.grid = request.grid;
    launch_state.block = request.block;
    launch_state.dynamic_bytes = request.shared_bytes;
    launch_state.body = request.body;
    launch_state.closure = request.closure;
    launch_state.closure_bytes = request.closure_bytes;
    launch_state.early = request.early;
    check_shape(launch_state);
    check_launch_shared_memory(launch_state);
    order_random = Random(config().seed);
    launch_state.order = order_of_launch();
    launch_state.first_serial = next_serial;
    forget_publications();
    launch_state.failed = false;
    launch_state.yields = 0;
    launch_state.blocks_done = 0;
    clear_ready();
    if (!stacks.empty() && stacks.front().bytes() != config().stack_bytes) stacks.clear();
}

void run_blocks(uint64_t blocks) {
    const unsigned slots = static_cast<unsigned>(std::min<uint64_t>(
        blocks, static_cast<unsigned>(std::clamp(config().resident_blocks, 1, 32))));
    launch_state.resident.clear();
    for (unsigned slot = 0; slot < slots; ++slot)
        launch_state.resident.push_back(make_block(slot, launch_state.block));
    const std::vector<uint64_t> order = block_order(blocks);
    uint64_t next = 0;
    while (launch_state.blocks_done < blocks && !launch_state.failed) {
        for (const auto& block : launch_state.resident) {
            if (!block->active && next < blocks) start_block(*block, order[next++]);
        }
        const uint64_t before = launch_state.blocks_done;
        run_until_done();
        if (launch_state.failed || launch_state.blocks_done != before) continue;
        record_fault(Fault::Deadlock, deadlock_text(), nullptr);
        for (const auto& block : launch_state.resident) {
            const auto waits =
                std::find_if(block->threads.begin(), block->threads.end(),
                             [](const Thread& thread) { return thread.state != State::Exited; });
            if (!block->active || waits == block->threads.end()) continue;
            launch_state.report.block = block->index;
            launch_state.report.thread = waits->index;
            launch_state.report.known = {waits->waits_at.file, waits->waits_at.line};
            break;
        }
    }
    launch_state.resident.clear();
}

}  // namespace

void run_grid(const LaunchRequest& request) {
    const DeviceLock lock(device_mutex());
    prepare_launch(request);
    ++counts.launches;
    const dim3 grid = request.grid;
    run_blocks(uint64_t{grid.x} * grid.y * grid.z);
    if (launch_state.failed) throw FaultError(launch_state.report);
}

void wait_for_previous() {
    const InsideRuntime inside;
    current->has_waited = true;
}

uint3 thread_index() { return current->index; }
uint3 block_index() { return current->block->index; }
dim3 block_dimensions() { return launch_state.block; }
dim3 grid_dimensions() { return launch_state.grid; }

void kernel_trap(CodeLine where) {
    const InsideRuntime inside;
    record_fault(Fault::Trap, "__trap()", where);
    abandon();
}

}  // namespace nearcell::simt
