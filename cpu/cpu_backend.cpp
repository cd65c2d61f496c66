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

RerankCounts CpuBackend::rerank(const RerankJob& job,
                                std::span<std::vector<Candidate>> candidates) const {
    PairKernel* const key_of = pair_kernel(job.metric);
    const size_t words = job.code.words;
    const bool plain = job.code.kind == CodeKind::Float32;
    std::vector<RerankCounts> counts(candidates.size());
    parallel_for(candidates.size(), job.threads, [&](size_t q, int) {
        std::vector<Candidate>& list = candidates[q];
        const auto row_of = [&](const Candidate& c) {
            return job.cell_rows[c.cell] + c.slot * words;
        };
        TopK best(job.k == 0 ? list.size() : job.k);
        std::vector<float> decoded(plain ? 0 : job.code.dim);
        size_t kept = 0;
        for (size_t i = 0; i < list.size(); ++i) {
            if (i + 4 < list.size()) {  // the next rows are scattered: ask for them early
                const char* ahead = reinterpret_cast<const char*>(row_of(list[i + 4]));
                for (size_t b = 0; b < std::min<size_t>(words * 4, 1024); b += 64) {
                    __builtin_prefetch(ahead + b);
                    __atomic_signal_fence(__ATOMIC_SEQ_CST);  // else g++ 12 keeps only one of them
                }
            }
            Candidate candidate = list[i];
            const bool bounded = job.k != 0 && candidate.lower < candidate.key;
            if (bounded && kept >= job.k && candidate.lower > best.threshold()) {
                ++counts[q].skipped;
                continue;
            }
            const float* row = reinterpret_cast<const float*>(row_of(candidate));
            if (!plain) {
                decode_rows(job.code, row_of(candidate), 1, {decoded.data(), 1, job.code.dim});
                row = decoded.data();
            }
            candidate.key = candidate.lower = key_of(job.queries.row(q), row, job.code.dim);
            best.push(candidate);
            if (++kept >= job.k && bounded) best.cut();  // the next bound needs the true threshold
            ++counts[q].scored;
        }
        list = best.sorted();
    });
    RerankCounts total;
    for (const RerankCounts& count : counts) {
        total.scored += count.scored;
        total.skipped += count.skipped;
    }
    return total;
}

void CpuBackend::decode_rows(const CodeView& code, const uint32_t* rows, size_t count,
                             MatrixView<float> out) const {
    std::vector<uint32_t> block(code.words * kBlock, 0);
    std::vector<float> values(code.dim * kBlock);
    DecodeKernel* const decode = decode_kernel(kernels_, code.kind);
    for (size_t first = 0; first < count; first += kBlock) {
        const size_t lanes = std::min(kBlock, count - first);
        for (size_t v = 0; v < lanes; ++v) {
            const uint32_t* row = rows + (first + v) * code.words;
            for (size_t w = 0; w < code.words; ++w)
                block[w * kBlock + v] = row[w];
        }
        decode(&code, block.data(), nullptr, values.data());
        for (size_t v = 0; v < lanes; ++v) {
            float* row = out.row(first + v);
            for (size_t j = 0; j < code.dim; ++j)
                row[j] = values[j * kBlock + v];
        }
    }
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
