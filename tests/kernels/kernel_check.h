// Checks of kernel tables against the reference, without a test framework: the same code runs under
// GoogleTest here and as a plain program on an instruction set that is emulated (neon_check.sh).
// Every operation of ops.def is checked; one without a test case is a failure. Single threaded.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <nearcell/core/metric.h>
#include <nearcell/kernels/kernel_table.h>

namespace nearcell::checks {

// Counts what was checked and keeps the first failures.
class CheckLog {
   public:
    template <class... Parts>
    void expect(bool holds, const Parts&... parts) {
        ++checks_;
        if (holds) return;
        if (++failed_ > 10) return;
        std::ostringstream text;
        text.precision(9);
        (text << ... << parts);
        failures_.push_back(text.str());
    }
    size_t checks() const { return checks_; }
    size_t failed() const { return failed_; }
    const std::vector<std::string>& failures() const { return failures_; }

   private:
    size_t checks_ = 0, failed_ = 0;
    std::vector<std::string> failures_;
};

// The same bits in, the same number out; all NaN count as one, their bits are not ours to choose.
class Digest {
   public:
    void add(uint32_t word) { state_ = (state_ ^ word) * 0x100000001b3ull; }
    void add(float value) { add(std::isnan(value) ? 0x7fc00000u : std::bit_cast<uint32_t>(value)); }
    uint64_t value() const { return state_; }

   private:
    uint64_t state_ = 0xcbf29ce484222325ull;
};

// Whether two floats have the same bits, or are both NaN.
inline bool same_bits(float a, float b) {
    return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) ||
           (std::isnan(a) && std::isnan(b));
}

// Whether `got` lies as near to the reference as `roundings` roundings of terms that add up to
// `magnitude` allow. Finite terms that may overflow on the way allow anything.
inline bool near(float got, float reference, double magnitude, size_t roundings) {
    if (std::isfinite(magnitude) && magnitude > 1e38) return true;
    if (!std::isfinite(got) || !std::isfinite(reference)) return same_bits(got, reference);
    // One more rounding for the reference's own, and one of the smallest denormals each.
    const double count = static_cast<double>(roundings + 1);
    return std::fabs(static_cast<double>(got) - static_cast<double>(reference)) <=
           count * (0x1p-24 * magnitude + 0x1p-149);
}

// What a check knows of the operation it checks: its name and the table it is from.
struct OpCase {
    std::string name;
    const KernelTable& table;
    bool fused;  // the table has fused multiply-adds
};

inline bool is_fused(const KernelTable& table) {
    return std::string_view(table.isa) != "base" && std::string_view(table.isa) != "reference";
}

// The checks, chosen by an operation's type; each returns the digest of what the kernel computed.
uint64_t check_op(const OpCase& op, PairKernel* kernel, PairKernel* reference, CheckLog& log);
uint64_t check_op(const OpCase& op, ScanKernel* kernel, ScanKernel* reference, CheckLog& log);
uint64_t check_op(const OpCase& op, BitsTablesKernel* kernel, BitsTablesKernel* reference,
                  CheckLog& log);
uint64_t check_op(const OpCase& op, ProductTablesKernel* kernel, ProductTablesKernel* reference,
                  CheckLog& log);
uint64_t check_op(const OpCase& op, Int8QueryKernel* kernel, Int8QueryKernel* reference,
                  CheckLog& log);
uint64_t check_op(const OpCase& op, ScanCodesKernel* kernel, ScanCodesKernel* reference,
                  CheckLog& log);
uint64_t check_op(const OpCase& op, LaneMinimaKernel* kernel, LaneMinimaKernel* reference,
                  CheckLog& log);
uint64_t check_op(const OpCase& op, CollectRowsKernel* kernel, CollectRowsKernel* reference,
                  CheckLog& log);
uint64_t check_op(const OpCase& op, ScoresInt16Kernel* kernel, ScoresInt16Kernel* reference,
                  CheckLog& log);
uint64_t check_op(const OpCase& op, SmallestBoundKernel* kernel, SmallestBoundKernel* reference,
                  CheckLog& log);
uint64_t check_op(const OpCase& op, RankKeysKernel* kernel, RankKeysKernel* reference,
                  CheckLog& log);
uint64_t check_op(const OpCase& op, RotateKernel* kernel, RotateKernel* reference, CheckLog& log);
uint64_t check_op(const OpCase& op, RowKernel* kernel, RowKernel* reference, CheckLog& log);
uint64_t check_op(const OpCase& op, LaneKernel* kernel, LaneKernel* reference, CheckLog& log);
uint64_t check_op(const OpCase& op, LaneDecodeKernel* kernel, LaneDecodeKernel* reference,
                  CheckLog& log);
uint64_t check_op(const OpCase& op, ConvKernel* kernel, ConvKernel* reference, CheckLog& log);
uint64_t check_op(const OpCase& op, DepthwiseKernel* kernel, DepthwiseKernel* reference,
                  CheckLog& log);
uint64_t check_op(const OpCase& op, PoolKernel* kernel, PoolKernel* reference, CheckLog& log);
uint64_t check_op(const OpCase& op, ScoresKernel* kernel, ScoresKernel* reference, CheckLog& log);
uint64_t check_op(const OpCase& op, AssignKernel* kernel, AssignKernel* reference, CheckLog& log);
uint64_t check_op(const OpCase& op, PeakKernel* kernel, PeakKernel* reference, CheckLog& log);
uint64_t check_op(const OpCase& op, PeakLookupKernel* kernel, PeakLookupKernel* reference,
                  CheckLog& log);
uint64_t check_op(const OpCase& op, PeakProductKernel* kernel, PeakProductKernel* reference,
                  CheckLog& log);
uint64_t check_op(const OpCase& op, PeakReadKernel* kernel, PeakReadKernel* reference,
                  CheckLog& log);
uint64_t check_op(const OpCase& op, DecodeKernel* kernel, DecodeKernel* reference, CheckLog& log);

// All 65536 binary16 patterns, against core/half.h.
void check_half_patterns(const KernelTable& table, CheckLog& log);

struct OpDigest {
    std::string op;
    uint64_t digest = 0;
};

// Checks every operation of a table. Tables with fused multiply-adds must return equal digests.
std::vector<OpDigest> check_table(const KernelTable& table, CheckLog& log);

// Of an operation on float vectors, by its name; nothing when there is no test case for it.
std::optional<Metric> metric_of(std::string_view op);

// The dimensions every check goes through.
std::vector<size_t> check_dims();

}  // namespace nearcell::checks
