#include <nearcell/cpu/cpu_backend.h>

#include <algorithm>
#include <cstdlib>

#include <nearcell/core/parallel.h>
#include <nearcell/cpu/isa_select.h>

namespace nearcell {
namespace {

constexpr size_t kTaskRows = 192;         // queries a task of a product: a multiple of 16, 6, 4, 2
constexpr size_t kBlockFloats = 1 << 16;  // of the blocks, kept in L2 while a task's queries pass

// Blocks to take at a time so that they stay in cache while all rows of a task pass.
size_t group_blocks(size_t dim) {
    return std::max<size_t>(4, kBlockFloats / (dim * kBlock) / 4 * 4);
}

}  // namespace

std::string CpuBackend::describe() const {
    return std::string("cpu ") + kernels_.isa + " (" + executor_name() + ")";
}

PairKernel* CpuBackend::pair_kernel(Metric metric) const {
    if (is_similarity(metric)) return kernels_.ip_f32;
    return metric == Metric::L1 ? kernels_.l1_f32 : kernels_.l2_f32;
}

void CpuBackend::scores(MatrixView<const float> queries, const FloatBlocks& blocks, Metric metric,
                        MatrixView<float> out, int threads) const {
    ScoresKernel* kernel = is_similarity(metric)  ? kernels_.scores_ip_f32
                           : metric == Metric::L1 ? kernels_.scores_l1_f32
                                                  : kernels_.scores_l2_f32;
    const size_t group = group_blocks(blocks.dim());
    parallel_for((queries.rows + kTaskRows - 1) / kTaskRows, threads, [&](size_t task, int) {
        const size_t first = task * kTaskRows, count = std::min(kTaskRows, queries.rows - first);
        std::vector<const float*> pointers(count);
        for (size_t i = 0; i < count; ++i)
            pointers[i] = queries.row(first + i);
        for (size_t b = 0; b * kBlock < blocks.rows(); b += group) {
            const size_t rows = std::min(group * kBlock, blocks.rows() - b * kBlock);
            kernel(blocks.block(b), rows, blocks.dim(), pointers.data(), count,
                   out.row(first) + b * kBlock, out.stride);
        }
    });
}

void CpuBackend::rotate(MatrixView<const float> x, const float* factors, bool inverse,
                        MatrixView<float> out, int threads) const {
    parallel_for((x.rows + kTaskRows - 1) / kTaskRows, threads, [&](size_t task, int) {
        for (size_t i = task * kTaskRows; i < std::min(x.rows, (task + 1) * kTaskRows); ++i) {
            std::copy_n(x.row(i), x.cols, out.row(i));
            kernels_.rotate_f32(factors, x.cols, inverse ? 1 : 0, out.row(i));
        }
    });
}

Backend& cpu_backend() {
    static CpuBackend backend = [] {
        const char* isa = std::getenv("NEARCELL_ISA");
        return CpuBackend(select_kernels(isa == nullptr ? "" : isa));
    }();
    return backend;
}

std::vector<std::string> cpu_instruction_sets() {
    std::vector<std::string> names;
    for (const KernelTable* table : runnable_tables())
        names.emplace_back(table->isa);
    return names;
}

}  // namespace nearcell
