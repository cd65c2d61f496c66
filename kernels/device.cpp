#include <nearcell/kernels/device.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <map>
#include <mutex>

#include <nearcell/core/error.h>
#include <nearcell/kernels/device_group.h>

namespace nearcell {
namespace {

std::atomic<const DeviceSource*> chosen_source{nullptr};

const DeviceSource& source() {
    const DeviceSource* chosen = chosen_source.load();
    return chosen == nullptr ? built_in_devices() : *chosen;
}

// The numbers in "cuda:N,M"; "cuda" is the first of all, "cuda:all" all of them.
std::vector<size_t> ordinals_of(std::string_view name, size_t all) {
    constexpr std::string_view kKind = "cuda";
    if (name == kKind) return {0};
    std::vector<size_t> ordinals;
    if (name == "cuda:all") {
        for (size_t i = 0; i < std::max<size_t>(1, all); ++i)
            ordinals.push_back(i);
        return ordinals;
    }
    const char* at = name.starts_with("cuda:") ? name.data() + kKind.size() : nullptr;
    const char* const end = name.data() + name.size();
    while (at != nullptr && at != end) {  // at a colon or a comma
        size_t ordinal = 0;
        const auto read = std::from_chars(at + 1, end, ordinal);
        const bool more = read.ptr != end && *read.ptr == ',';
        at = read.ec == std::errc() && (more || read.ptr == end) ? read.ptr : nullptr;
        ordinals.push_back(ordinal);
    }
    check(at != nullptr, StatusCode::InvalidArgument, "device = ", std::string(name).substr(0, 40),
          " is none: pass cpu, cuda, cuda:N with N from 0, cuda:N,M or cuda:all");
    std::vector<size_t> sorted(ordinals);
    std::sort(sorted.begin(), sorted.end());
    check(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(),
          StatusCode::InvalidArgument, "device = ", name, " names one twice");
    return ordinals;
}

// Groups are kept: indexes point to them.
const Device* group_of(const std::vector<const Device*>& members) {
    static std::mutex mutex;
    static std::map<std::vector<const Device*>, std::unique_ptr<DeviceGroup>> groups;
    const std::lock_guard lock(mutex);
    std::unique_ptr<DeviceGroup>& group = groups[members];
    if (!group) group = std::make_unique<DeviceGroup>(members);
    return group.get();
}

}  // namespace

std::unique_ptr<DeviceNetwork> Device::hold_network(const NetworkSteps&,
                                                    const DeviceOptions&) const {
    throw_error(StatusCode::Unsupported, "device = ", name(),
                " computes no networks: extract features on cpu");
}

std::vector<const Device*> devices() { return source().list(); }

std::string why_no_devices() { return source().why(); }

const Device* find_device(std::string_view name) {
    if (name == "cpu") return nullptr;
    const std::vector<const Device*> all = devices();
    const std::vector<size_t> ordinals = ordinals_of(name, all.size());
    check(!all.empty(), StatusCode::NoDevice, "device = ", name, ": ", source().why());
    std::vector<const Device*> members;
    for (const size_t ordinal : ordinals) {
        check(ordinal < all.size(), StatusCode::NoDevice, "device = ", name,
              ", but this machine has ", all.size(), ": pass cuda:0 to cuda:", all.size() - 1,
              ", or cpu");
        members.push_back(all[ordinal]);
    }
    return members.size() == 1 ? members.front() : group_of(members);
}

void set_device_source(const DeviceSource* source) { chosen_source = source; }

}  // namespace nearcell
