// The kernel checks as a plain program, for machines without a test framework. Prints one line
// "isa operation digest" for each operation of each table that has fused multiply-adds (their
// digests must be equal everywhere) and the failures; exits 1 if there are any. Arguments name the
// instruction sets to check (none: all that run here); one this machine cannot run is a failure.
#include <cinttypes>
#include <cstdio>
#include <string>
#include <vector>

#include <nearcell/cpu/isa_select.h>

#include "kernel_check.h"

int main(int argc, char** argv) {
    using namespace nearcell;
    std::vector<std::string> wanted(argv + 1, argv + argc);
    const bool all = wanted.empty();
    bool failed = false;
    for (const KernelTable* table : runnable_tables()) {
        if (!all && std::erase(wanted, table->isa) == 0) continue;
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
    for (const std::string& isa : wanted)
        std::fprintf(stderr, "%s: this machine cannot run it\n", isa.c_str());
    failed = failed || !wanted.empty();
    return failed ? 1 : 0;
}
