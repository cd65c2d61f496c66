#include "kernel_check.h"

#include <utility>

namespace nearcell::checks {

std::optional<Metric> metric_of(std::string_view op) {
    static constexpr std::pair<std::string_view, Metric> kCases[] = {
        {"l2_f32", Metric::L2},
        {"ip_f32", Metric::InnerProduct},
        {"l1_f32", Metric::L1},
        {"scan_l2_f32", Metric::L2},
        {"scan_ip_f32", Metric::InnerProduct},
        {"scan_l1_f32", Metric::L1},
        {"scores_l2_f32", Metric::L2},
        {"scores_ip_f32", Metric::InnerProduct},
        {"scores_l1_f32", Metric::L1},
        {"assign_dot_f32", Metric::InnerProduct},
        {"assign_l2_f32", Metric::L2},
    };
    for (const auto& [name, metric] : kCases) {
        if (name == op) return metric;
    }
    return std::nullopt;
}

std::vector<size_t> check_dims() {
    std::vector<size_t> dims;
    for (size_t d = 1; d <= 67; ++d)
        dims.push_back(d);
    dims.insert(dims.end(), {127, 128, 129, 784, 1000});
    return dims;
}

std::vector<OpDigest> check_table(const KernelTable& table, CheckLog& log) {
    const KernelTable& reference = reference_table();
    std::vector<OpDigest> digests;
#define OP(name, type, ops, bytes, peak)                                               \
    log.expect(table.name != nullptr, table.isa, " has no " #name);                    \
    log.expect(reference.name != nullptr, "the reference has no " #name);              \
    if (table.name != nullptr && reference.name != nullptr) {                          \
        const OpCase op{#name, table, is_fused(table)};                                \
        const size_t before = log.checks();                                            \
        digests.push_back({#name, check_op(op, table.name, reference.name, log)});     \
        log.expect(log.checks() > before, "no test case checks the operation " #name); \
    }
#include <nearcell/kernels/ops.def>
#undef OP
    return digests;
}

}  // namespace nearcell::checks
