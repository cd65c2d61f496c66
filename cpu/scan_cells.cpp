// The cell-major scan: (query, cell) pairs sorted by cell, each cell's vectors decoded once per
// batch and multiplied with all queries that look into it. Nearest cells first, so that most keys
// of the other cells fail a query's threshold inside the kernel.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <nearcell/core/parallel.h>
#include <nearcell/cpu/cpu_backend.h>

namespace nearcell {
namespace {

constexpr size_t kSliceQueries = 96;  // queries a kernel call, so that its hits stay in cache
constexpr size_t kWideBlocks = 16;    // blocks a kernel call when few queries share them
constexpr size_t kBatchBlocks = 4;    // and when many do: thresholds tighten after each call

struct Pair {
    uint32_t query;  // within the task
    uint32_t rank;   // which probe of the query this is
};

// Where a task's hits go: the k best of each query, or everything within a radius.
struct TopKSink {
    std::span<TopK> best;
    float threshold(size_t query) const { return best[query].threshold(); }
    void push(size_t query, const Candidate& candidate) { best[query].push(candidate); }
};
struct RangeSink {
    std::span<std::vector<Candidate>> hits;
    float largest_key;
    float threshold(size_t) const { return largest_key; }
    void push(size_t query, const Candidate& candidate) { hits[query].push_back(candidate); }
};

ScanKernel* scan_kernel(const KernelTable& kernels, Metric metric) {
    if (is_similarity(metric)) return kernels.scan_ip_f32;
    return metric == Metric::L1 ? kernels.scan_l1_f32 : kernels.scan_l2_f32;
}

// One task: some queries against one part of each of their cells.
template <class Sink>
class CellScan {
   public:
    CellScan(const ScanJob& job, const KernelTable& kernels, size_t first_query, size_t query_count,
             size_t split, Sink sink)
        : job_(job),
          scan_(scan_kernel(kernels, job.metric)),
          decode_(decode_kernel(kernels, job.code.kind)),
          inner_product_(kernels.ip_f32),
          first_query_(first_query),
          query_count_(query_count),
          split_(split),
          sink_(sink),
          plain_(job.code.kind == CodeKind::Float32),
          bits_(job.code.kind == CodeKind::Bits) {
        const size_t group = std::max(kBatchBlocks, kWideBlocks);
        if (!plain_) decoded_.resize(group * job.code.dim * kBlock);
        if (bits_) bias_.resize(group * kBlock);
        hits_.resize(kSliceQueries * kBatchBlocks * kBlock);
    }

    uint64_t run() {
        scan_ranks(0, std::min<size_t>(1, job_.probe_count));
        scan_ranks(1, job_.probe_count);
        return scanned_;
    }

   private:
    uint32_t cell_of(const Pair& pair) const {
        return job_.probes[(first_query_ + pair.query) * job_.probe_count + pair.rank];
    }

    // Scans the probes of rank [begin, end) of all queries, cell by cell.
    void scan_ranks(size_t begin, size_t end) {
        if (begin >= end) return;
        if (query_count_ == 1) {  // each cell occurs once: nearest first
            for (size_t rank = begin; rank < end; ++rank) {
                const Pair pair{0, static_cast<uint32_t>(rank)};
                scan_cell(cell_of(pair), {&pair, 1});
            }
            return;
        }
        // Counting sort by cell.
        std::vector<size_t> starts(job_.cells.size() + 1, 0);
        for (size_t q = 0; q < query_count_; ++q) {
            for (size_t rank = begin; rank < end; ++rank) {
                ++starts[job_.probes[(first_query_ + q) * job_.probe_count + rank] + 1];
            }
        }
        for (size_t c = 0; c < job_.cells.size(); ++c)
            starts[c + 1] += starts[c];
        std::vector<Pair> pairs(starts.back());
        std::vector<size_t> next(starts.begin(), starts.end() - 1);
        for (size_t q = 0; q < query_count_; ++q) {
            for (size_t rank = begin; rank < end; ++rank) {
                const Pair pair{static_cast<uint32_t>(q), static_cast<uint32_t>(rank)};
                pairs[next[cell_of(pair)]++] = pair;
            }
        }
        for (size_t c = 0; c < job_.cells.size(); ++c) {
            const size_t count = starts[c + 1] - starts[c];
            if (count != 0) scan_cell(static_cast<uint32_t>(c), {pairs.data() + starts[c], count});
        }
    }

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

    // Which lanes hold vectors that may be returned; how many there are.
    static uint64_t fill_masks(const CellView& cell, size_t first, size_t count, uint16_t* masks) {
        uint64_t vectors = 0;
        for (size_t i = 0; i < count; ++i) {
            const size_t lanes = std::min(kBlock, cell.size - (first + i) * kBlock);
            const unsigned filled = (1u << lanes) - 1u;
            const unsigned allowed =
                cell.masks == nullptr ? filled : filled & cell.masks[first + i];
            masks[i] = static_cast<uint16_t>(allowed);
            vectors += static_cast<uint64_t>(__builtin_popcount(allowed));
        }
        return vectors;
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
                std::memcpy(bias_.data() + i * kBlock, factor_line(blocks + i * bytes, 1),
                            kBlock * sizeof(float));
            }
        }
        return decoded_.data();
    }

    // Of a Bits block: the line of scales (0), biases (1) or errors (2).
    const float* factor_line(const uint8_t* block, size_t which) const {
        const size_t word = job_.code.words - 3 + which;
        return reinterpret_cast<const float*>(block) + word * kBlock;
    }

    void scan_slice(uint32_t number, size_t first_block, size_t count, const float* floats,
                    const uint16_t* masks, std::span<const Pair> pairs) {
        const float* queries[kSliceQueries];
        float thresholds[kSliceQueries];
        for (size_t i = 0; i < pairs.size(); ++i) {
            queries[i] = job_.queries.row(first_query_ + pairs[i].query);
            thresholds[i] = sink_.threshold(pairs[i].query);
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
            sink_.push(pair.query, {hit.key, lower, id, number, static_cast<uint32_t>(slot)});
        }
    }

    // How far the estimate of a Bits code may lie above the true key (RaBitQ's bound): for L2 it
    // grows with the distance of query and cell, for inner products with the query's norm.
    float bits_error(const CellView& cell, size_t slot, const Pair& pair) const {
        const uint8_t* block = cell.blocks + slot / kBlock * job_.code.block_bytes();
        const float error = factor_line(block, 2)[slot % kBlock];
        const size_t q = first_query_ + pair.query;
        if (job_.metric != Metric::L2) {
            const float* query = job_.queries.row(q);
            return 0.5f * error * std::sqrt(-inner_product_(query, query, job_.code.dim));
        }
        if (job_.probe_keys == nullptr) return std::numeric_limits<float>::infinity();
        return error * std::sqrt(std::max(0.0f, job_.probe_keys[q * job_.probe_count + pair.rank]));
    }

    const ScanJob& job_;
    ScanKernel* scan_;
    DecodeKernel* decode_;
    PairKernel* inner_product_;
    size_t first_query_, query_count_, split_;
    Sink sink_;
    bool plain_, bits_;
    std::vector<float> decoded_, bias_;
    std::vector<Hit> hits_;
    uint64_t scanned_ = 0;
};

// Runs the tasks of a plan: `run(task's first query, count, split)` returns vectors scanned.
template <class Run>
ScanCounts run_plan(const ScanJob& job, Run&& run) {
    const size_t per_task = std::max<size_t>(1, job.plan.queries_per_task);
    const size_t chunks = (job.queries.rows + per_task - 1) / per_task;
    std::vector<uint64_t> scanned(chunks * job.plan.splits, 0);
    parallel_for(scanned.size(), job.threads, [&](size_t task, int) {
        const size_t first = task / job.plan.splits * per_task;
        const size_t count = std::min(per_task, job.queries.rows - first);
        scanned[task] = run(first, count, task % job.plan.splits);
    });
    ScanCounts counts;
    for (const uint64_t n : scanned)
        counts.scanned += n;
    return counts;
}

}  // namespace

ScanCounts CpuBackend::scan_cells(const ScanJob& job, std::span<TopK> results) const {
    if (job.plan.splits == 1) {
        return run_plan(job, [&](size_t first, size_t count, size_t split) {
            return CellScan<TopKSink>(job, kernels_, first, count, split,
                                      {results.subspan(first, count)})
                .run();
        });
    }
    std::vector<std::vector<TopK>> parts(job.plan.splits);
    for (std::vector<TopK>& part : parts)
        part.assign(results.begin(), results.end());
    const ScanCounts counts = run_plan(job, [&](size_t first, size_t count, size_t split) {
        const std::span<TopK> part = std::span<TopK>(parts[split]).subspan(first, count);
        return CellScan<TopKSink>(job, kernels_, first, count, split, {part}).run();
    });
    for (size_t q = 0; q < results.size(); ++q) {
        for (const std::vector<TopK>& part : parts)
            results[q].merge(part[q]);
    }
    return counts;
}

ScanCounts CpuBackend::scan_cells_range(const ScanJob& job, float radius,
                                        std::span<std::vector<Candidate>> hits) const {
    const float largest = std::nextafter(radius, -std::numeric_limits<float>::infinity());
    std::vector<std::vector<std::vector<Candidate>>> parts(job.plan.splits);
    for (auto& part : parts)
        part.resize(job.queries.rows);
    const ScanCounts counts = run_plan(job, [&](size_t first, size_t count, size_t split) {
        const auto part = std::span(parts[split]).subspan(first, count);
        return CellScan<RangeSink>(job, kernels_, first, count, split, {part, largest}).run();
    });
    for (auto& part : parts) {
        for (size_t q = 0; q < job.queries.rows; ++q) {
            hits[q].insert(hits[q].end(), part[q].begin(), part[q].end());
        }
    }
    return counts;
}

}  // namespace nearcell
