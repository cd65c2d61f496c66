#include <cstring>
#include <string>
#include <utility>

#include <nearcell/gpu/simt/runtime.h>
#include <nearcell/gpu/simt/simt.h>

namespace nearcell::simt {
namespace {

void land(AsyncCopy& copy) {
    if (copy.landed) return;
    copy.landed = true;
    if (copy.valid > 0) std::memcpy(copy.target, copy.source, copy.valid);
    std::memset(copy.target + copy.valid, 0, copy.bytes - copy.valid);
}

bool fits(const char* target, const char* source, unsigned bytes, unsigned valid,
          const void* code) {
    const auto addresses =
        reinterpret_cast<uintptr_t>(target) | reinterpret_cast<uintptr_t>(source);
    std::string problem;
    if (addresses % bytes != 0)
        problem = "cp_async between addresses that are no multiples of its size";
    if (valid > bytes) problem = "cp_async of more valid bytes than it copies";
    if (problem.empty()) return true;
    record_fault(Fault::Misaligned, std::move(problem), code);
    return false;
}

}  // namespace

void start_copy(void* shared, const void* global, unsigned bytes, unsigned valid) {
    const void* const code = __builtin_return_address(0);
    const InsideRuntime inside;
    auto* const target = static_cast<char*>(shared);
    const auto* const source = static_cast<const char*>(global);
    if (!fits(target, source, bytes, valid, code)) abandon();
    if (!arena().contains(target) || target >= arena().device) {
        record_fault(Fault::OutOfBounds, "cp_async to an address that is not shared memory", code);
        abandon();
    }
    if (valid > 0) check_access(source, valid, false, false, code);
    async_copy_begins(target, bytes, code);
    current->open_copies.push_back({target, source, bytes, valid, false});
    if (order_random.below(2) == 0) land(current->open_copies.back());
}

void commit_copies() {
    const InsideRuntime inside;
    current->copies.push_back(std::exchange(current->open_copies, {}));
}

void wait_for_copies(int groups, CodeLine where) {
    const void* const code = __builtin_return_address(0);
    const InsideRuntime inside;
    if (!passes(SiteKind::AsyncWait, where)) return;
    auto& copies = current->copies;
    while (copies.size() > static_cast<size_t>(groups)) {
        for (AsyncCopy& copy : copies.front()) {
            land(copy);
            async_copy_ends(copy.target, copy.bytes, code);
        }
        copies.erase(copies.begin());
    }
}

}  // namespace nearcell::simt
