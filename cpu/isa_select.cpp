#include <nearcell/cpu/isa_select.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <nearcell/core/error.h>

// One set of fill functions for each instruction set of the build (cmake/isa.cmake).
#define NEARCELL_DECLARE(name)                 \
    namespace nearcell {                       \
    void fill_pair_##name(KernelTable&);       \
    void fill_scan_##name(KernelTable&);       \
    void fill_assign_##name(KernelTable&);     \
    void fill_decode_##name(KernelTable&);     \
    void fill_lookup_##name(KernelTable&);     \
    void fill_int8_##name(KernelTable&);       \
    void fill_int16_##name(KernelTable&);      \
    void fill_row_##name(KernelTable&);        \
    void fill_select_##name(KernelTable&);     \
    void fill_rotate_##name(KernelTable&);     \
    void fill_conv_##name(KernelTable&);       \
    void fill_peak_##name(KernelTable&);       \
    static const KernelTable& table_##name() { \
        static const KernelTable table = [] {  \
            KernelTable t;                     \
            t.isa = #name;                     \
            fill_pair_##name(t);               \
            fill_scan_##name(t);               \
            fill_assign_##name(t);             \
            fill_decode_##name(t);             \
            fill_lookup_##name(t);             \
            fill_int8_##name(t);               \
            fill_int16_##name(t);              \
            fill_row_##name(t);                \
            fill_select_##name(t);             \
            fill_rotate_##name(t);             \
            fill_conv_##name(t);               \
            fill_peak_##name(t);               \
            return t;                          \
        }();                                   \
        return table;                          \
    }                                          \
    }

#ifdef NEARCELL_HAS_BASE
NEARCELL_DECLARE(base)
#endif
#ifdef NEARCELL_HAS_AVX2
NEARCELL_DECLARE(avx2)
#endif
#ifdef NEARCELL_HAS_AVX512
NEARCELL_DECLARE(avx512)
#endif
#ifdef NEARCELL_HAS_AVX512VNNI
NEARCELL_DECLARE(avx512vnni)
#endif
#ifdef NEARCELL_HAS_AMX
NEARCELL_DECLARE(amx)
#endif
#ifdef NEARCELL_HAS_NEON
NEARCELL_DECLARE(neon)
#endif

namespace nearcell {

// The wider sets are built all together or not at all (tests/fuzz).
#ifdef NEARCELL_HAS_AMX
namespace {

// Half precision conversions; clang 14 knows no such feature by name.
bool has_f16c() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

// Tiles of bytes, and the system's leave to use them, which a process has to ask for once: their
// registers are large, and it saves them only for those that did. From Linux 5.16 on.
bool has_amx() {
    constexpr unsigned kTile = 1u << 24, kInt8 = 1u << 25;
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
    if ((d & kTile) == 0 || (d & kInt8) == 0) return false;
#if defined(__linux__)
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    static const bool granted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
    return granted;
#else
    return false;
#endif
}

}  // namespace
#endif

// __builtin_cpu_supports also asks the operating system whether it saves the wider registers.
std::vector<const KernelTable*> runnable_tables() {
    std::vector<const KernelTable*> tables;
#ifdef NEARCELL_HAS_BASE
    tables.push_back(&table_base());
#endif
#ifdef NEARCELL_HAS_AMX
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("bmi2") && has_f16c();
    if (avx2) tables.push_back(&table_avx2());
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (avx512) tables.push_back(&table_avx512());
    const bool vnni =
        avx512 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi");
    if (vnni) tables.push_back(&table_avx512vnni());
    if (vnni && has_amx()) tables.push_back(&table_amx());
#endif
#ifdef NEARCELL_HAS_NEON
    tables.push_back(&table_neon());
#endif
    return tables;
}

const KernelTable& select_kernels(const std::string& isa) {
    const std::vector<const KernelTable*> tables = runnable_tables();
    if (isa.empty()) return *tables.back();
    std::string names;
    for (const KernelTable* table : tables) {
        if (isa == table->isa) return *table;
        names += (names.empty() ? "" : ", ") + std::string(table->isa);
    }
    throw_error(StatusCode::Unsupported, "NEARCELL_ISA = \"", isa,
                "\" is not an instruction set this machine can run: use one of ", names);
}

}  // namespace nearcell
