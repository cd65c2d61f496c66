// A block's shared memory: each variable with a gap around it, all of it unwritten when a block
// starts, and no more of it than the launch and the architecture allow.
#include <nearcell/gpu/simt/cuda_memory.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>

#include <nearcell/gpu/simt/runtime.h>

namespace nearcell::simt {
namespace {

constexpr size_t kStaticLimit = size_t{48} << 10;
constexpr size_t kGap = 32;
constexpr int kUnwritten = 0xff;  // as floats: NaN

std::map<const void*, size_t> dynamic_limits;  // of kernels, by allow_shared_memory()

// What static and dynamic variables of this launch may need together.
size_t limit_of_launch() {
    return dynamic_limits.contains(launch_state.function)
               ? shared_memory_limit(config().architecture)
               : kStaticLimit;
}

std::string bytes_text(size_t bytes) { return std::to_string(bytes) + " bytes"; }

void make_unwritten(char* address, size_t bytes) {
    std::memset(address, kUnwritten, bytes);
    forget_memory(address, bytes);
}

}  // namespace

size_t shared_memory_limit(int architecture) {
    switch (architecture) {
        case 75: return size_t{64} << 10;
        case 80: return size_t{163} << 10;
        case 86:
        case 89:
        case 120: return size_t{99} << 10;
        default: return size_t{227} << 10;
    }
}

void forget_shared_limits() { dynamic_limits.clear(); }

void allow_shared_bytes(const void* function, size_t bytes) {
    const DeviceLock lock(device_mutex());
    const size_t limit = shared_memory_limit(config().architecture);
    if (bytes > limit) {
        throw_fault(Fault::SharedMemoryLimit,
                    bytes_text(bytes) + " of shared memory asked for; sm_" +
                        std::to_string(config().architecture) + " has " + bytes_text(limit));
    }
    size_t& most = dynamic_limits[function];
    most = std::max(most, bytes);
}

void check_launch_shared_memory(const LaunchState& launch) {
    if (launch.dynamic_bytes <= kStaticLimit) return;
    const auto found = dynamic_limits.find(launch.function);
    const size_t allowed = found == dynamic_limits.end() ? kStaticLimit : found->second;
    if (launch.dynamic_bytes > allowed) {
        throw_fault(Fault::SharedMemoryLimit,
                    std::string(launch.kernel) + ": " + bytes_text(launch.dynamic_bytes) +
                        " of dynamic shared memory, but " + bytes_text(allowed) +
                        " allowed: call allow_shared_memory() first");
    }
}

void start_shared_memory(Block& block) {
    block.variables.clear();
    block.static_bytes = 0;
    block.dynamic_bytes = launch_state.dynamic_bytes;
    block.used_end = kDynamicOffset + block.dynamic_bytes;
    if (block.dynamic_bytes > 0) make_unwritten(block.shared + kDynamicOffset, block.dynamic_bytes);
    size_t& most = counts.dynamic_shared_bytes;
    most = std::max(most, block.dynamic_bytes);
}

void* shared_variable(const void* key, size_t bytes, size_t alignment, const char* name,
                      CodeLine where) {
    const InsideRuntime inside;
    Block& block = *current->block;
    for (const SharedVariable& variable : block.variables) {
        if (variable.key == key) return block.shared + variable.offset;
    }
    alignment = std::max<size_t>(alignment, 16);
    const size_t offset = (block.used_end + kGap + alignment - 1) / alignment * alignment;
    block.static_bytes += (bytes + 15) / 16 * 16;
    const bool too_many = block.static_bytes > kStaticLimit;
    if (too_many || block.static_bytes + block.dynamic_bytes > limit_of_launch()) {
        record_fault(Fault::SharedMemoryLimit,
                     bytes_text(block.static_bytes) + " of static and " +
                         bytes_text(block.dynamic_bytes) + " of dynamic shared memory with " +
                         name + "; at most " +
                         bytes_text(too_many ? kStaticLimit : limit_of_launch()) +
                         (too_many ? " can be static" : " for this launch"),
                     where);
        abandon();
    }
    block.used_end = offset + bytes;
    make_unwritten(block.shared + offset, bytes);
    block.variables.push_back({key, offset, bytes, name});
    size_t& most = counts.static_shared_bytes;
    most = std::max(most, block.static_bytes);
    return block.shared + offset;
}

void* dynamic_shared_memory() { return current->block->shared + kDynamicOffset; }

const SharedVariable* find_shared(const Block& block, const char* address, size_t bytes) {
    static SharedVariable dynamic{nullptr, kDynamicOffset, 0, "dynamic shared memory"};
    const auto offset = static_cast<size_t>(address - block.shared);
    dynamic.bytes = block.dynamic_bytes;
    const auto holds = [=](const SharedVariable& variable) {
        return offset >= variable.offset && offset + bytes <= variable.offset + variable.bytes;
    };
    if (holds(dynamic)) return &dynamic;
    for (const SharedVariable& variable : block.variables) {
        if (holds(variable)) return &variable;
    }
    return nullptr;
}

}  // namespace nearcell::simt
