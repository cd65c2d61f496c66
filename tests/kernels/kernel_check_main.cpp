// The kernel checks as a plain program, for machines without a test framework. Prints one line
// "isa operation digest" for each operation of each table that has fused multiply-adds (their
// digests must be equal everywhere) and the failures; exits 1 if there are any.
#include <cinttypes>
#include <cstdio>

#include <nearcell/cpu/isa_select.h>

#include "kernel_check.h"

int main() {
    using namespace nearcell;
    bool failed = false;
    for (const KernelTable* table : runnable_tables()) {
        checks::CheckLog log;
        for (const checks::OpDigest& digest : checks::check_table(*table, log)) {
            if (!checks::is_fused(*table)) continue;
            std::printf("%s %s %016" PRIx64 "\n", table->isa, digest.op.c_str(), digest.digest);
        }
        checks::check_half_patterns(*table, log);
        for (const std::string& failure : log.failures())
            std::fprintf(stderr, "%s\n", failure.c_str());
        std::fprintf(stderr, "%s: %zu checks, %zu failed\n", table->isa, log.checks(),
                     log.failed());
        failed = failed || log.failed() != 0;
    }
    return failed ? 1 : 0;
}
