// One benchmark for every operation of kernels/ops.def, instruction set and dimension, on one
// thread: GFLOP/s and GB/s by the operation's own flops and bytes. Data fit the second-level cache,
// so the figures are those of the arithmetic; names are isa/operation/dimension.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include <nearcell/core/aligned_buffer.h>
#include <nearcell/core/random.h>
#include <nearcell/cpu/isa_select.h>
#include <nearcell/kernels/kernel_table.h>

namespace {

using namespace nearcell;

constexpr size_t kBlocks = 16, kQueries = 48, kSubWidth = 4;

// What kernels are called with: blocks of random floats, queries, and room for results.
struct Inputs {
    size_t d;
    AlignedBuffer<float> blocks, queries, bias, out;
    std::vector<const float*> pointers;
    std::vector<uint16_t> masks = std::vector<uint16_t>(kBlocks, 0xffff);
    // Nothing passes: a scan's usual case.
    std::vector<float> thresholds =
        std::vector<float>(kQueries, -std::numeric_limits<float>::infinity());
    std::vector<Hit> hits = std::vector<Hit>(kQueries * kBlocks * kBlock);
    std::vector<uint8_t> tables;
    std::vector<uint32_t> rows;
    std::vector<Nearest> nearest = std::vector<Nearest>(kBlocks);

    explicit Inputs(size_t d_) : d(d_) {
        Random random(1);
        for (auto* buffer : {&blocks, &queries, &bias, &out})
            buffer->resize(std::max(kBlocks * kBlock, kQueries) * std::max(d, kQueries));
        for (auto* buffer : {&blocks, &queries, &bias}) {
            float* values = buffer->mutable_data();
            for (size_t i = 0; i < buffer->size(); ++i)
                values[i] = static_cast<float>(random.uniform());
        }
        tables.assign(4 * d + 128, 1);
        for (size_t q = 0; q < kQueries; ++q)
            pointers.push_back(queries.data() + q * d);
    }
};

// Each runs an operation once and returns how many (vector, query) pairs that was.
size_t call(PairKernel* kernel, const CodeView&, Inputs& in) {
    float sum = 0;
    for (size_t i = 0; i < kBlocks * kBlock; ++i)
        sum += kernel(in.blocks.data() + i * in.d, in.queries.data(), in.d);
    benchmark::DoNotOptimize(sum);
    return kBlocks * kBlock;
}
size_t call(ScanKernel* kernel, const CodeView&, Inputs& in) {
    const size_t found = kernel(in.blocks.data(), kBlocks, in.d, nullptr, in.pointers.data(),
                                kQueries, in.thresholds.data(), in.masks.data(), in.hits.data());
    benchmark::DoNotOptimize(found);
    return kBlocks * kBlock * kQueries;
}
size_t call(ScoresKernel* kernel, const CodeView&, Inputs& in) {
    kernel(in.blocks.data(), kBlocks * kBlock, in.d, in.pointers.data(), kQueries,
           in.out.mutable_data(), kBlocks * kBlock);
    return kBlocks * kBlock * kQueries;
}
size_t call(AssignKernel* kernel, const CodeView&, Inputs& in) {
    kernel(in.blocks.data(), kBlocks, in.d, in.pointers.data(), kQueries, in.bias.data(), -2.0f, 0,
           in.nearest.data());
    return kBlocks * kBlock * kQueries;
}
size_t call(LaneMinimaKernel* kernel, const CodeView&, Inputs& in) {
    kernel(in.out.mutable_data(), kBlocks * kBlock * in.d, nullptr, 1, kBlock,
           in.bias.mutable_data());
    return kBlocks * kBlock;
}
size_t call(CollectRowsKernel* kernel, const CodeView&, Inputs& in) {
    in.rows.resize(kBlocks * kBlock * in.d);
    benchmark::DoNotOptimize(
        kernel(in.blocks.data(), kBlocks * kBlock * in.d, -1.0f, in.rows.data()));
    return kBlocks * kBlock;
}
size_t call(RotateKernel* kernel, const CodeView&, Inputs& in) {
    kernel(in.blocks.data(), in.d, 0, in.out.mutable_data());
    return 1;
}
size_t call(BitsTablesKernel* kernel, const CodeView&, Inputs& in) {
    float unit = 0, offset = 0;
    kernel(in.queries.data(), in.d, in.tables.data(), &unit, &offset);
    benchmark::DoNotOptimize(unit);
    return 1;
}
size_t call(ScanCodesKernel* kernel, const CodeView& code, Inputs& in) {
    const std::vector<CodedQuery> queries(
        kQueries, {in.tables.data(), 1, 0, 0, 0, -std::numeric_limits<float>::infinity()});
    benchmark::DoNotOptimize(kernel(&code, in.blocks.data(), kBlocks, queries.data(), kQueries,
                                    in.masks.data(), in.hits.data()));
    return kBlocks * kBlock * kQueries;
}
size_t call(RowKernel* kernel, const CodeView& code, Inputs& in) {
    float sum = 0;
    for (size_t i = 0; i < kBlocks * kBlock; ++i) {
        sum += kernel(&code, reinterpret_cast<const uint32_t*>(in.blocks.data() + i * in.d),
                      in.queries.data());
    }
    benchmark::DoNotOptimize(sum);
    return kBlocks * kBlock;
}
size_t call(DecodeKernel* kernel, const CodeView& code, Inputs& in) {
    for (size_t b = 0; b < kBlocks; ++b) {
        kernel(&code, in.blocks.data() + b * code.words * kBlock, in.queries.data(),
               in.out.mutable_data());
    }
    return kBlocks * kBlock;
}

// A view that serves every kind of code: one bit a dimension, product sub-spaces of four.
CodeView code_view(const Inputs& in, const std::vector<uint32_t>& sub_begin,
                   const std::vector<float>& codebooks, const std::string& op) {
    CodeView code;
    code.dim = in.d;
    code.bits = 1;
    code.offset = code.step = in.bias.data();
    code.subquantizers = sub_begin.size() - 1;
    code.sub_begin = sub_begin.data();
    code.codebooks = codebooks.data();
    code.words = op == "decode_bits" || op == "scan_bits" ? in.d / 32 + kBitsFactors
                 : op == "decode_float32"                 ? in.d
                                                          : in.d / 2;
    return code;
}

template <class Kernel>
void run(benchmark::State& state, Kernel* kernel, const std::string& op, double flops,
         double bytes) {
    Inputs in(static_cast<size_t>(state.range(0)));
    std::vector<uint32_t> sub_begin(in.d / kSubWidth + 1);
    for (size_t m = 0; m < sub_begin.size(); ++m)
        sub_begin[m] = static_cast<uint32_t>(m * kSubWidth);
    const std::vector<float> codebooks(256 * in.d, 0.5f);
    const CodeView code = code_view(in, sub_begin, codebooks, op);
    double pairs = 0;
    for ([[maybe_unused]] auto _ : state) {
        pairs += static_cast<double>(call(kernel, code, in));
        benchmark::ClobberMemory();
    }
    state.counters["GFLOP/s"] =
        benchmark::Counter(pairs * flops * 1e-9, benchmark::Counter::kIsRate);
    state.counters["GB/s"] = benchmark::Counter(pairs * bytes * 1e-9, benchmark::Counter::kIsRate);
}

void register_table(const KernelTable& table) {
    for (const int64_t dim : {32, 128, 768}) {
        const double d = static_cast<double>(dim);
#define OP(name, type, flops, bytes)                                                 \
    benchmark::RegisterBenchmark((std::string(table.isa) + "/" #name).c_str(),       \
                                 [kernel = table.name, d](benchmark::State& state) { \
                                     run(state, kernel, #name, flops, bytes);        \
                                 })                                                  \
        ->Arg(dim);
#include <nearcell/kernels/ops.def>
#undef OP
    }
}

}  // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    for (const KernelTable* table : runnable_tables())
        register_table(*table);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
