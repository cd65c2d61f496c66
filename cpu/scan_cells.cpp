// The cell-major scan: (query, cell) pairs sorted by cell, each cell's vectors decoded once per
// batch and multiplied with all queries that look into it. Nearest cells first, so that most keys
// of the other cells fail a query's threshold inside the kernel.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <nearcell/cpu/cell_walk.h>
#include <nearcell/cpu/cpu_backend.h>
#include <nearcell/cpu/refine_cells.h>
#include <nearcell/cpu/scan_sinks.h>

namespace nearcell {
namespace {

constexpr size_t kSliceQueries = 96;  // queries a kernel call, so that its hits stay in cache
constexpr size_t kWideBlocks = 16;    // blocks a kernel call when few queries share them
constexpr size_t kBatchBlocks = 4;    // and when many do: thresholds tighten after each call

ScanKernel* scan_kernel(const KernelTable& kernels, Metric metric) {
    if (is_similarity(metric)) return kernels.scan_ip_f32;
    return metric == Metric::L1 ? kernels.scan_l1_f32 : kernels.scan_l2_f32;
}

// One task: some queries against one part of each of their cells.
template <class Sink>
class CellScan {
   public:
    CellScan(const ScanJob& job, const KernelTable& kernels, std::span<const uint32_t> queries,
             size_t split, Sink sink)
        : job_(job),
          scan_(scan_kernel(kernels, job.metric)),
          decode_(decode_kernel(kernels, job.code.kind)),
          inner_product_(kernels.ip_f32),
          queries_(queries),
          split_(split),
          sink_(sink),
          plain_(job.code.kind == CodeKind::Float32),
          bits_(job.code.kind == CodeKind::Bits) {
        const size_t group = std::max(kBatchBlocks, kWideBlocks);
        if (!plain_) decoded_.resize(group * job.code.dim * kBlock);
        if (bits_) bias_.resize(group * kBlock);
        hits_.resize(kSliceQueries * kBatchBlocks * kBlock);
    }

    void scan(size_t first, std::span<const uint32_t> ends) {
        for_each_cell(
            job_, queries_, first, ends,
            [&](uint32_t number, std::span<const Pair> pairs) { scan_cell(number, pairs); });
    }
    float threshold(size_t place) const { return sink_.threshold(queries_[place]); }
    ScanCounts counts() const { return {scanned_, 0}; }

   private:
    void scan_cell(uint32_t number, std::span<const Pair> pairs) {
        const CellView& cell = job_.cells[number];
        const size_t blocks = blocks_for(cell.size), splits = job_.plan.splits;
        const size_t begin = blocks * split_ / splits, end = blocks * (split_ + 1) / splits;
        const size_t group =
            pairs.size() * kWideBlocks <= hits_.size() / kBlock ? kWideBlocks : kBatchBlocks;
        for (size_t b = begin; b < end; b += group) {
            const size_t count = std::min(group, end - b);
            uint16_t masks[kWideBlocks];
            const uint64_t vectors = fill_masks(cell, b, count, masks);
            if (vectors == 0) continue;
            scanned_ += vectors * pairs.size();
            const float* floats = prepare_floats(cell, b, count);
            for (size_t p = 0; p < pairs.size(); p += kSliceQueries) {
                const size_t slice = std::min(kSliceQueries, pairs.size() - p);
                scan_slice(number, b, count, floats, masks, pairs.subspan(p, slice));
            }
        }
    }

    // The blocks as floats; Bits also fills bias_.
    const float* prepare_floats(const CellView& cell, size_t first, size_t count) {
        const size_t bytes = job_.code.block_bytes();
        const uint8_t* blocks = cell.blocks + first * bytes;
        if (plain_ && cell.centroid == nullptr) return reinterpret_cast<const float*>(blocks);
        if (decoded_.empty()) decoded_.resize(kWideBlocks * job_.code.dim * kBlock);
        for (size_t i = 0; i < count; ++i) {
            decode_(&job_.code, blocks + i * bytes, cell.centroid,
                    decoded_.data() + i * job_.code.dim * kBlock);
            if (bits_) {
                for (size_t lane = 0; lane < kBlock; ++lane) {
                    bias_[i * kBlock + lane] = factor(blocks + i * bytes, lane, BitsFactor::Bias);
                }
            }
        }
        return decoded_.data();
    }

    // Of a Bits block.
    float factor(const uint8_t* block, size_t lane, BitsFactor which) const {
        const size_t first = job_.code.words - bits_factor_words(job_.code.bits);
        return bits_factor(reinterpret_cast<const uint32_t*>(block) + first * kBlock + lane, kBlock,
                           job_.code.bits, which);
    }

    void scan_slice(uint32_t number, size_t first_block, size_t count, const float* floats,
                    const uint16_t* masks, std::span<const Pair> pairs) {
        const float* queries[kSliceQueries];
        float thresholds[kSliceQueries];
        for (size_t i = 0; i < pairs.size(); ++i) {
            const uint32_t query = queries_[pairs[i].query];
            queries[i] = job_.queries.row(query);
            thresholds[i] = sink_.threshold(query);
        }
        const bool biased = bits_ && job_.metric == Metric::L2;
        const size_t found = scan_(floats, count, job_.code.dim, biased ? bias_.data() : nullptr,
                                   queries, pairs.size(), thresholds, masks, hits_.data());
        const CellView& cell = job_.cells[number];
        for (size_t h = 0; h < found; ++h) {
            const Hit& hit = hits_[h];
            const Pair& pair = pairs[hit.query];
            const size_t slot = first_block * kBlock + hit.slot;
            const int64_t id = cell.ids == nullptr ? static_cast<int64_t>(slot) : cell.ids[slot];
            const float lower = bits_ ? hit.key - bits_error(cell, slot, pair) : hit.key;
            sink_.push(queries_[pair.query],
                       {hit.key, lower, id, number, static_cast<uint32_t>(slot)});
        }
    }

    // How far the estimate of a Bits code may lie above the true key (RaBitQ's bound): for L2 it
    // grows with the distance of query and cell, for inner products with the query's norm.
    float bits_error(const CellView& cell, size_t slot, const Pair& pair) const {
        const uint8_t* block = cell.blocks + slot / kBlock * job_.code.block_bytes();
        const float error = factor(block, slot % kBlock, BitsFactor::Error);
        const size_t q = queries_[pair.query];
        if (job_.metric != Metric::L2) {
            const float* query = job_.queries.row(q);
            return 0.5f * error * std::sqrt(-inner_product_(query, query, job_.code.dim));
        }
        if (job_.probe_keys == nullptr) return std::numeric_limits<float>::infinity();
        return error * std::sqrt(std::max(0.0f, pair.key));
    }

    const ScanJob& job_;
    ScanKernel* scan_;
    DecodeKernel* decode_;
    PairKernel* inner_product_;
    std::span<const uint32_t> queries_;
    size_t split_;
    Sink sink_;
    bool plain_, bits_;
    std::vector<float> decoded_, bias_;
    std::vector<Hit> hits_;
    uint64_t scanned_ = 0;
};

// Runs the tasks of the plan; sink(split) is where their hits go.
template <class MakeSink>
ScanCounts scan_tasks(const ScanJob& job, const KernelTable& kernels, MakeSink&& sink) {
    return run_scans(job,
                     [&](const ScanJob& part, std::span<const uint32_t> queries, size_t split) {
                         return CellScan(part, kernels, queries, split, sink(split));
                     });
}

}  // namespace

ScanCounts CpuBackend::scan_cells(const ScanJob& job, std::span<TopK> results) const {
    SplitResults parts(results, job.plan.splits);
    const auto sink = [&](size_t split) { return TopKSink{parts.of(split)}; };
    const ScanCounts counts =
        job.refine != nullptr ? refine_tasks(job, kernels_, sink) : scan_tasks(job, kernels_, sink);
    parts.merge();
    return counts;
}

ScanCounts CpuBackend::scan_cells_range(const ScanJob& job, float radius,
                                        std::span<std::vector<Candidate>> hits) const {
    const float largest = std::nextafter(radius, -std::numeric_limits<float>::infinity());
    std::vector<std::vector<std::vector<Candidate>>> parts(job.plan.splits);
    for (auto& part : parts)
        part.resize(job.queries.rows);
    const auto sink = [&](size_t split) { return RangeSink{std::span(parts[split]), largest}; };
    const ScanCounts counts =
        job.refine != nullptr ? refine_tasks(job, kernels_, sink) : scan_tasks(job, kernels_, sink);
    for (auto& part : parts) {
        for (size_t q = 0; q < job.queries.rows; ++q) {
            hits[q].insert(hits[q].end(), part[q].begin(), part[q].end());
        }
    }
    return counts;
}

}  // namespace nearcell
