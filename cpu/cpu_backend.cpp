#include <nearcell/cpu/cpu_backend.h>

#include <algorithm>
#include <cstdlib>
#include <limits>

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

void CpuBackend::nearest(MatrixView<const float> queries, const FloatBlocks& blocks, Metric metric,
                         size_t count, uint32_t* rows, float* keys, int threads) const {
    const CellView cell{reinterpret_cast<const uint8_t*>(blocks.data()), nullptr, blocks.rows(),
                        nullptr, nullptr};
    const std::vector<uint32_t> probes(queries.rows, 0);
    ScanJob job;
    job.queries = queries;
    job.metric = metric;
    job.code.dim = job.code.words = blocks.dim();
    job.cells = {&cell, 1};
    job.probes = probes.data();
    job.probe_count = 1;
    job.plan.queries_per_task = std::min<size_t>(kTaskRows, std::max<size_t>(1, queries.rows));
    job.threads = threads;
    std::vector<TopK> best(queries.rows, TopK(count));
    scan_cells(job, best);
    parallel_for((queries.rows + 255) / 256, threads, [&](size_t task, int) {
        for (size_t q = task * 256; q < std::min(queries.rows, (task + 1) * 256); ++q) {
            const std::vector<Candidate>& sorted = best[q].sorted();
            for (size_t i = 0; i < count; ++i) {
                const bool found = i < sorted.size();  // not so only where keys are not finite
                rows[q * count + i] = found ? sorted[i].slot : static_cast<uint32_t>(i);
                keys[q * count + i] = found ? sorted[i].key : std::numeric_limits<float>::max();
            }
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
