#include <nearcell/kernels/device.h>

#include <atomic>
#include <charconv>

#include <nearcell/core/error.h>

namespace nearcell {
namespace {

std::atomic<const DeviceSource*> chosen_source{nullptr};

const DeviceSource& source() {
    const DeviceSource* chosen = chosen_source.load();
    return chosen == nullptr ? built_in_devices() : *chosen;
}

// The number in "cuda:N" or "cuda".
size_t ordinal_of(std::string_view name) {
    constexpr std::string_view kKind = "cuda";
    if (name == kKind) return 0;
    size_t ordinal = 0;
    const bool numbered = name.starts_with("cuda:");
    const char* const end = name.data() + name.size();
    const auto read = numbered ? std::from_chars(name.data() + kKind.size() + 1, end, ordinal)
                               : std::from_chars_result{nullptr, std::errc::invalid_argument};
    check(read.ec == std::errc() && read.ptr == end, StatusCode::InvalidArgument,
          "device = ", std::string(name).substr(0, 40),
          " is none: pass cpu, cuda or cuda:N, N from 0");
    return ordinal;
}

}  // namespace

std::vector<const Device*> devices() { return source().list(); }

std::string why_no_devices() { return source().why(); }

const Device* find_device(std::string_view name) {
    if (name == "cpu") return nullptr;
    const size_t ordinal = ordinal_of(name);
    const std::vector<const Device*> all = devices();
    check(!all.empty(), StatusCode::NoDevice, "device = ", name, ": ", source().why());
    check(ordinal < all.size(), StatusCode::NoDevice, "device = ", name, ", but this machine has ",
          all.size(), ": pass cuda:0 to cuda:", all.size() - 1, ", or cpu");
    return all[ordinal];
}

void set_device_source(const DeviceSource* source) { chosen_source = source; }

}  // namespace nearcell
