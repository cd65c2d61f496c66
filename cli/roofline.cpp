#include "roofline.h"

#include <algorithm>
#include <functional>
#include <type_traits>
#include <vector>

#include "machine.h"
#include "repeated.h"

namespace nearcell::cli {
namespace {

constexpr size_t kRounds = 1000;

double best_rate(const std::function<double()>& run) { return 1 / seconds_a_unit(run).low; }

double lookup_rate(PeakLookupKernel* kernel) {
    const std::vector<uint8_t> table(16, 1), indices(16, 3);
    std::vector<uint8_t> sums(4 * kPeakSums);
    return best_rate([&] {
        kernel(table.data(), indices.data(), kRounds, sums.data());
        return static_cast<double>(kRounds * sums.size());
    });
}

double product_rate(PeakProductKernel* kernel) {
    const std::vector<uint8_t> codes(16, 200);
    const std::vector<int8_t> query(16, 1);
    return best_rate([&] {
        std::vector<int32_t> sums(kPeakSums);
        kernel(codes.data(), query.data(), kRounds, sums.data());
        return static_cast<double>(kRounds * sums.size());
    });
}

double term_rate(PeakKernel* kernel) {
    return best_rate([&] {
        std::vector<float> sums(kPeakSums);  // new ones: they must not grow to infinity
        kernel(1.25f, 0.5f, kRounds, sums.data());
        return static_cast<double>(kRounds * sums.size());
    });
}

double read_rate(PeakReadKernel* kernel, const StoredWords& words, size_t bytes) {
    const size_t count = std::min(bytes, words.bytes()) / 256 * 64;
    return best_rate([&] {
        kernel(words.data(), count);
        return static_cast<double>(count * sizeof(uint32_t));
    });
}

}  // namespace

LevelBytes level_bytes() {
    constexpr size_t kLeastMemory = size_t{128} << 20, kMostMemory = size_t{256} << 20;
    const CacheBytes caches = cache_bytes();
    return {caches.l1 / 2, caches.l2 / 2, std::clamp(4 * caches.l3, kLeastMemory, kMostMemory)};
}

Roofline measure_roofline(const KernelTable& table, const StoredWords& words,
                          const LevelBytes& levels) {
    Roofline roofline;
    const auto add = [&](const char* name, auto* kernel, double operations) {
        using Kernel = std::remove_pointer_t<decltype(kernel)>;
        if constexpr (std::is_same_v<Kernel, PeakKernel>)
            roofline.arithmetic[name] = operations * term_rate(kernel);
        if constexpr (std::is_same_v<Kernel, PeakProductKernel>)
            roofline.arithmetic[name] = operations * product_rate(kernel);
        if constexpr (std::is_same_v<Kernel, PeakLookupKernel>)
            roofline.arithmetic[name] = operations * lookup_rate(kernel);
    };
    constexpr double d = 1;  // the operations of a term or a look-up
#define OP(name, type, ops, bytes, peak) add(#name, table.name, ops);
#include <nearcell/kernels/ops.def>
#undef OP
    roofline.l1 = read_rate(table.peak_read, words, levels.l1);
    roofline.l2 = read_rate(table.peak_read, words, levels.l2);
    roofline.memory = read_rate(table.peak_read, words, levels.memory);
    return roofline;
}

void Roofline::raise(const Roofline& other) {
    for (const auto& [peak, rate] : other.arithmetic)
        arithmetic[peak] = std::max(arithmetic[peak], rate);
    l1 = std::max(l1, other.l1);
    l2 = std::max(l2, other.l2);
    memory = std::max(memory, other.memory);
}

Bound bound_of(double arithmetic, double bytes_a_second, const KernelCall& call) {
    if (call.bytes <= 0) return {arithmetic, false};
    const double read = call.operations / call.bytes * bytes_a_second;  // intensity * bandwidth
    return {std::min(read, arithmetic), read < arithmetic};
}

}  // namespace nearcell::cli
