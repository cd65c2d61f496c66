// The emulated device's memory: one range of addresses, handed out once each, so that a stale
// pointer stays one. Freed pages go back to the system at once.
#include <algorithm>
#include <cstring>
#include <string>

#include <sys/mman.h>

#include <nearcell/core/error.h>
#include <nearcell/gpu/simt/runtime.h>

namespace nearcell::simt {
namespace {

constexpr size_t kDeviceRange = size_t{8} << 30;
constexpr size_t kGranule = 256;  // allocations begin at its multiples, as CUDA's do
constexpr size_t kPage = 4096;
constexpr int kFresh = 0xcd;

std::vector<Allocation> allocations;
uint32_t* granules =
    nullptr;  // which allocation, counted from 1, owns each of the device's granules
char* next_address = nullptr;

void* reserve(size_t bytes) {
    void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check(memory != MAP_FAILED, StatusCode::OutOfMemory, "the emulation cannot reserve ", bytes,
          " bytes of addresses");
    return memory;
}

size_t granule_of(const char* address) {
    return static_cast<size_t>(address - arena().device) / kGranule;
}

}  // namespace

Arena reserved;

void drop_pages(void* begin, void* end) {
    char* const first =
        static_cast<char*>(begin) + (kPage - reinterpret_cast<uintptr_t>(begin) % kPage) % kPage;
    char* const last = static_cast<char*>(end) - reinterpret_cast<uintptr_t>(end) % kPage;
    if (first < last) ::madvise(first, static_cast<size_t>(last - first), MADV_DONTNEED);
}

void reserve_arena() {
    constexpr size_t kShared = kMaxResident * kSharedSlot;
    Arena made;
    made.begin = static_cast<char*>(reserve(kShared + kDeviceRange));
    made.device = made.begin + kShared;
    made.end = made.device + kDeviceRange;
    granules = static_cast<uint32_t*>(reserve(kDeviceRange / kGranule * sizeof(uint32_t)));
    next_address = made.device + kPage;
    reserve_shadow((kShared + kDeviceRange) / kShadowWord);
    reserved = made;
}

const Allocation* find_allocation(const char* address) {
    if (address < arena().device || address >= arena().end) return nullptr;
    const uint32_t number = granules[granule_of(address)];
    return number == 0 ? nullptr : &allocations[number - 1];
}

char* allocate_bytes(size_t bytes) {
    const Arena& all = arena();
    bytes = std::max<size_t>(bytes, 1);
    check(bytes <= config().device_bytes && counts.device_bytes <= config().device_bytes - bytes,
          StatusCode::OutOfMemory, "no device memory for ", bytes, " bytes: ", counts.device_bytes,
          " of ", config().device_bytes, " are in use");
    const size_t span = (bytes + kGranule - 1) / kGranule * kGranule + kGranule;
    check(span <= static_cast<size_t>(all.end - next_address), StatusCode::OutOfMemory,
          "the emulation has no address left for ", bytes,
          " bytes: call simt::reset() between tests");
    char* const address = next_address;
    next_address += span;
    const auto number = static_cast<uint32_t>(allocations.size() + 1);
    allocations.push_back({address, bytes, number, true});
    std::fill_n(&granules[granule_of(address)], (bytes + kGranule - 1) / kGranule, number);
    std::memset(address, kFresh, bytes);
    forget_memory(address, bytes);
    counts.device_bytes += bytes;
    counts.peak_device_bytes = std::max(counts.peak_device_bytes, counts.device_bytes);
    return address;
}

void free_bytes(void* address) {
    const Allocation* const found = find_allocation(static_cast<const char*>(address));
    if (found == nullptr || !found->live || found->address != address)
        throw_fault(Fault::InvalidCopy, "device_free: not the begin of a live allocation");
    Allocation& allocation = allocations[found->number - 1];
    allocation.live = false;
    counts.device_bytes -= allocation.bytes;
    drop_pages(allocation.address, allocation.address + allocation.bytes);
    drop_history(allocation.address, allocation.address + allocation.bytes);
}

void empty_device() {
    const Arena& all = arena();
    std::fill_n(granules, granule_of(next_address) + 1, 0u);
    drop_pages(all.device, next_address);
    drop_history(all.device, next_address);
    allocations.clear();
    next_address = all.device + kPage;
}

void check_device_range(const void* address, size_t bytes, const char* call) {
    if (bytes == 0) return;
    const char* const begin = static_cast<const char*>(address);
    const Allocation* const found = find_allocation(begin);
    if (found == nullptr)
        throw_fault(Fault::InvalidCopy, std::string(call) + ": not an address of the device");
    if (!found->live)
        throw_fault(Fault::InvalidCopy, std::string(call) + ": the allocation has been freed");
    const auto offset = static_cast<size_t>(begin - found->address);
    if (offset > found->bytes || bytes > found->bytes - offset) {
        throw_fault(Fault::InvalidCopy, std::string(call) + ": " + std::to_string(bytes) +
                                            " bytes from offset " + std::to_string(offset) +
                                            " of an allocation of " + std::to_string(found->bytes));
    }
}

}  // namespace nearcell::simt
