// Every operation of ops.def on every instruction set that this machine runs, against the
// reference; tables with fused multiply-adds against each other, bit by bit.
#include "kernel_check.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <iostream>

#include <nearcell/core/error.h>
#include <nearcell/cpu/isa_select.h>

namespace nearcell {
namespace {

void expect_clean(const checks::CheckLog& log) {
    EXPECT_GT(log.checks(), 0u);
    EXPECT_EQ(log.failed(), 0u) << "of " << log.checks();
    for (const std::string& failure : log.failures())
        ADD_FAILURE() << failure;
}

const KernelTable* runnable(const std::string& isa) {
    for (const KernelTable* table : runnable_tables()) {
        if (isa == table->isa) return table;
    }
    return nullptr;
}

class EveryTable : public testing::TestWithParam<const char*> {};

TEST_P(EveryTable, AgreesWithTheReference) {
    const KernelTable* table = runnable(GetParam());
    if (table == nullptr) GTEST_SKIP() << GetParam() << ": not in this build or not on this CPU";
    checks::CheckLog log;
    checks::check_table(*table, log);
    std::cout << GetParam() << ": " << log.checks() << " checks\n";
    expect_clean(log);
}

TEST_P(EveryTable, DecodesEveryBinary16Pattern) {
    const KernelTable* table = runnable(GetParam());
    if (table == nullptr) GTEST_SKIP() << GetParam() << ": not in this build or not on this CPU";
    checks::CheckLog log;
    checks::check_half_patterns(*table, log);
    EXPECT_EQ(log.checks(), 65536u);
    expect_clean(log);
}

INSTANTIATE_TEST_SUITE_P(Isa, EveryTable,
                         testing::Values("base", "avx2", "avx512", "avx512vnni", "amx", "neon"),
                         [](const auto& isa) { return std::string(isa.param); });

TEST(Reference, PassesItsOwnChecks) {
    checks::CheckLog log;
    checks::check_table(reference_table(), log);
    expect_clean(log);
}

TEST(Tables, WithFusedMultiplyAddsGiveTheSameBits) {
    const KernelTable* first = nullptr;
    std::vector<checks::OpDigest> expected;
    size_t compared = 0;
    for (const KernelTable* table : runnable_tables()) {
        if (!checks::is_fused(*table)) continue;
        checks::CheckLog log;
        const std::vector<checks::OpDigest> digests = checks::check_table(*table, log);
        if (first == nullptr) {
            first = table;
            expected = digests;
            continue;
        }
        ASSERT_EQ(digests.size(), expected.size());
        for (size_t i = 0; i < digests.size(); ++i) {
            EXPECT_EQ(digests[i].digest, expected[i].digest)
                << digests[i].op << " of " << table->isa << " and " << first->isa;
        }
        ++compared;
    }
    if (compared == 0) GTEST_SKIP() << "fewer than two such tables run on this CPU";
}

// A digest is only worth comparing if it sees one wrong bit.
TEST(Digest, SeesOneBitButNotTheBitsOfNan) {
    checks::Digest a, b, c, d;
    a.add(1.0f);
    b.add(std::nextafter(1.0f, 2.0f));
    c.add(std::bit_cast<float>(0xffc00000u));
    d.add(std::bit_cast<float>(0x7fc00001u));
    EXPECT_NE(a.value(), b.value());
    EXPECT_EQ(c.value(), d.value());
}

// The checks themselves must be able to fail: a table with one wrong kernel.
TEST(Checks, FindAWrongKernel) {
    KernelTable table = reference_table();
    table.l2_f32 = [](const float* a, const float* b, size_t d) {
        return reference_table().l2_f32(a, b, d > 40 ? d - 1 : d);
    };
    checks::CheckLog log;
    checks::check_table(table, log);
    EXPECT_GT(log.failed(), 0u);
}

TEST(Checks, FindAMissingKernel) {
    KernelTable table = reference_table();
    table.decode_bits = nullptr;
    checks::CheckLog log;
    checks::check_table(table, log);
    EXPECT_EQ(log.failed(), 1u);
}

TEST(SelectKernels, KnowsTheRunnableNamesOnly) {
    const std::vector<const KernelTable*> tables = runnable_tables();
    ASSERT_FALSE(tables.empty());
    EXPECT_EQ(&select_kernels(""), tables.back());
    for (const KernelTable* table : tables)
        EXPECT_EQ(&select_kernels(table->isa), table);
    try {
        select_kernels("mmx");
        FAIL() << "mmx was accepted";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::Unsupported);
        EXPECT_NE(std::strstr(error.what(), tables.front()->isa), nullptr) << error.what();
    }
}

}  // namespace
}  // namespace nearcell
