// The cell-major scan by lower bounds that scores what passes at once (Refinement): integers give
// each code's lower bound, and the few codes under a query's threshold are scored exactly, from
// rows of the same cell or from the codes themselves, which the scan has brought into the caches.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include <nearcell/cpu/cell_walk.h>
#include <nearcell/cpu/coded_queries.h>
#include <nearcell/cpu/prefetch.h>
#include <nearcell/cpu/refine_cells.h>
#include <nearcell/cpu/scan_sinks.h>

namespace nearcell {
namespace {

constexpr size_t kSliceQueries = 96;  // queries a kernel call
constexpr size_t kGroupBlocks = 16;   // blocks a kernel call
constexpr size_t kAhead = 6;          // hits between asking for a query and scoring with it

RowKernel* row_kernel(const KernelTable& kernels, CodeKind kind, bool similarity) {
    switch (kind) {
        case CodeKind::Float16: return similarity ? kernels.row_ip_float16 : kernels.row_l2_float16;
        case CodeKind::BFloat16:
            return similarity ? kernels.row_ip_bfloat16 : kernels.row_l2_bfloat16;
        case CodeKind::RangeInt8:
            return similarity ? kernels.row_ip_range_int8 : kernels.row_l2_range_int8;
        default: return nullptr;  // Float32: the pair kernel
    }
}

// One task: some queries against one part of each of their cells.
template <class Sink>
class RefineScan {
   public:
    RefineScan(const ScanJob& job, const KernelTable& kernels, std::span<const uint32_t> queries,
               size_t split, Sink sink)
        : job_(job),
          refine_(*job.refine),
          kernels_(kernels),
          scan_(job.code.kind == CodeKind::Bits ? kernels.scan_bits : kernels.scan_int8),
          pair_(is_similarity(job.metric) ? kernels.ip_f32 : kernels.l2_f32),
          row_(row_kernel(kernels, job.refine->code.kind, is_similarity(job.metric))),
          queries_(queries),
          split_(split),
          sink_(sink),
          coded_queries_(job, kernels, queries),
          hits_(std::min(kSliceQueries, queries.size()) * kGroupBlocks * kBlock),
          lane_(refine_.code.words),
          moved_(refine_.code.dim) {
        for (const uint32_t query : queries)
            thresholds_.push_back(sink_.threshold(query));
    }

    ScanCounts run() {
        // Nearer cells first, so that the thresholds are tight where most of the work is.
        size_t begin = 0;
        for (const size_t end : {size_t{1}, job_.probe_count / 6, job_.probe_count}) {
            if (end <= begin) continue;
            for_each_cell(
                job_, queries_, begin, std::min(end, job_.probe_count),
                [&](uint32_t number, std::span<const Pair> pairs) { scan_cell(number, pairs); });
            begin = end;
        }
        return counts_;
    }

   private:
    void scan_cell(uint32_t number, std::span<const Pair> pairs) {
        const CellView& cell = job_.cells[number];
        const size_t blocks = blocks_for(cell.size), splits = job_.plan.splits;
        const size_t end = blocks * (split_ + 1) / splits;
        for (size_t b = blocks * split_ / splits; b < end; b += kGroupBlocks) {
            const size_t count = std::min(kGroupBlocks, end - b);
            uint16_t masks[kGroupBlocks];
            const uint64_t vectors = fill_masks(cell, b, count, masks);
            if (vectors == 0) continue;
            counts_.scanned += vectors * pairs.size();
            for (size_t p = 0; p < pairs.size(); p += kSliceQueries) {
                scan_slice(number, b, count, masks,
                           pairs.subspan(p, std::min(kSliceQueries, pairs.size() - p)));
            }
        }
    }

    void scan_slice(uint32_t number, size_t first_block, size_t count, const uint16_t* masks,
                    std::span<const Pair> pairs) {
        CodedQuery queries[kSliceQueries];
        uint32_t places[kSliceQueries];
        size_t warm = 0;
        for (const Pair& pair : pairs) {
            if (thresholds_[pair.query] == std::numeric_limits<float>::infinity()) {
                scan_cold(number, first_block, count, masks, pair);
                continue;
            }
            places[warm] = pair.query;
            queries[warm++] = coded_query(pair);
        }
        const std::span<Hit> hits = lookup(number, first_block, count, masks, {queries, warm});
        for (size_t h = 0; h < std::min(hits.size(), kAhead); ++h)
            prefetch(places[hits[h].query], number, first_block * kBlock + hits[h].slot);
        for (size_t h = 0; h < hits.size(); ++h) {
            if (h + kAhead < hits.size()) {
                const Hit& next = hits[h + kAhead];
                prefetch(places[next.query], number, first_block * kBlock + next.slot);
            }
            refine(places[hits[h].query], hits[h].key, number, first_block * kBlock + hits[h].slot);
        }
    }

    // A query without a threshold yet: the codes that seem nearest are scored first and make one.
    void scan_cold(uint32_t number, size_t first_block, size_t count, const uint16_t* masks,
                   const Pair& pair) {
        const CodedQuery query = coded_query(pair);
        const std::span<Hit> hits = lookup(number, first_block, count, masks, {&query, 1});
        const float bound = bound_of(hits, sink_.wanted(queries_[pair.query]));
        for (const bool near : {true, false}) {
            const float most = near ? bound : thresholds_[pair.query];
            const size_t found =
                kernels_.collect_rows(keys_.data(), keys_.size(), most, near_.data());
            for (size_t i = 0; i < found && near_[i] < hits.size(); ++i) {
                const Hit& hit = hits[near_[i]];
                if ((hit.key <= bound) == near)
                    refine(pair.query, hit.key, number, first_block * kBlock + hit.slot);
            }
        }
    }

    // A bound that at least k of the hits' keys meet, and not many more; the largest where there
    // are no k. keys_ receives the keys.
    float bound_of(std::span<const Hit> hits, size_t k) {
        std::fill(keys_.begin(), keys_.end(), std::numeric_limits<float>::infinity());
        for (size_t i = 0; i < hits.size(); ++i)
            keys_[i] = hits[i].key;
        constexpr size_t kLanes = 64;
        if (3 * k <= kLanes && hits.size() >= 2 * kLanes) {  // the k-th smallest of lanes' minima
            float minima[kLanes];
            kernels_.lane_minima(keys_.data(), keys_.size(), nullptr, 1.0f, kLanes, minima);
            std::nth_element(minima, minima + k - 1, minima + kLanes);
            return minima[k - 1];
        }
        if (k >= hits.size()) return std::numeric_limits<float>::max();
        std::vector<float> sorted(keys_.begin(),
                                  keys_.begin() + static_cast<ptrdiff_t>(hits.size()));
        std::nth_element(sorted.begin(), sorted.begin() + static_cast<ptrdiff_t>(k - 1),
                         sorted.end());
        return sorted[k - 1];
    }

    CodedQuery coded_query(const Pair& pair) const {
        CodedQuery query = coded_queries_.of(pair);
        query.threshold = thresholds_[pair.query];
        return query;
    }

    std::span<Hit> lookup(uint32_t number, size_t first_block, size_t count, const uint16_t* masks,
                          std::span<const CodedQuery> queries) {
        const uint8_t* blocks = job_.cells[number].blocks + first_block * job_.code.block_bytes();
        return {hits_.data(), scan_(&job_.code, blocks, count, queries.data(), queries.size(),
                                    masks, hits_.data())};
    }

    // What scoring the vector will read that the scan has not just read.
    void prefetch(uint32_t q, uint32_t number, size_t slot) const {
        prefetch_row(reinterpret_cast<const uint32_t*>(query_of(q)), refine_.code.dim);
        if (!refine_.cell_rows.empty()) prefetch_row(row_of(number, slot), refine_.code.words);
    }

    const float* query_of(uint32_t q) const { return refine_.queries.row(queries_[q]); }
    const uint32_t* row_of(uint32_t number, size_t slot) const {
        return refine_.cell_rows[number] + slot * refine_.code.words;
    }

    float exact_key(uint32_t q, uint32_t number, size_t slot) {
        if (refine_.cell_rows.empty()) {
            const uint32_t* block = reinterpret_cast<const uint32_t*>(
                job_.cells[number].blocks + slot / kBlock * job_.code.block_bytes());
            for (size_t w = 0; w < lane_.size(); ++w)
                lane_[w] = block[w * kBlock + slot % kBlock];
            const float *query = query_of(q), *centroid = job_.cells[number].centroid;
            if (centroid == nullptr) return row_(&refine_.code, lane_.data(), query);
            if (is_similarity(job_.metric)) {
                return pair_(query, centroid, moved_.size()) +
                       row_(&refine_.code, lane_.data(), query);
            }
            for (size_t j = 0; j < moved_.size(); ++j)
                moved_[j] = query[j] - centroid[j];
            return row_(&refine_.code, lane_.data(), moved_.data());
        }
        const uint32_t* words = row_of(number, slot);
        if (row_ != nullptr) return row_(&refine_.code, words, query_of(q));
        return pair_(query_of(q), reinterpret_cast<const float*>(words), refine_.code.dim);
    }

    void refine(uint32_t q, float lower, uint32_t number, size_t slot) {
        if (!(lower <= thresholds_[q])) return;
        ++counts_.refined;
        const float exact = exact_key(q, number, slot);
        const float key = std::max(exact, lower);
        if (!(key <= thresholds_[q])) return;
        const CellView& cell = job_.cells[number];
        const int64_t id = cell.ids == nullptr ? static_cast<int64_t>(slot) : cell.ids[slot];
        sink_.push(queries_[q], {key, exact, id, number, static_cast<uint32_t>(slot)});
        thresholds_[q] = sink_.threshold(queries_[q]);
    }

    const ScanJob& job_;
    const Refinement& refine_;
    const KernelTable& kernels_;
    ScanCodesKernel* scan_;
    PairKernel* pair_;
    RowKernel* row_;  // null: rows are floats
    std::span<const uint32_t> queries_;
    size_t split_;
    Sink sink_;
    CodedQueries coded_queries_;
    std::vector<float> thresholds_;  // of the task's queries, side by side
    std::vector<Hit> hits_;
    std::vector<float> keys_ = std::vector<float>(kGroupBlocks * kBlock);  // of a cold query's hits
    std::vector<uint32_t> near_ = std::vector<uint32_t>(keys_.size());     // numbers of such hits
    std::vector<uint32_t> lane_;  // a code taken out of its block
    std::vector<float> moved_;    // a query relative to a centroid
    ScanCounts counts_;
};

template <class Sink>
ScanCounts run_tasks(const ScanJob& job, const KernelTable& kernels,
                     const std::function<Sink(size_t)>& sink) {
    std::atomic<uint64_t> scanned{0}, refined{0};
    run_plan(job, [&](std::span<const uint32_t> queries, size_t split) {
        const ScanCounts counts = RefineScan(job, kernels, queries, split, sink(split)).run();
        scanned += counts.scanned;
        refined += counts.refined;
    });
    return {scanned, refined};
}

}  // namespace

ScanCounts refine_tasks(const ScanJob& job, const KernelTable& kernels,
                        const std::function<TopKSink(size_t)>& sink) {
    return run_tasks(job, kernels, sink);
}

ScanCounts refine_tasks(const ScanJob& job, const KernelTable& kernels,
                        const std::function<RangeSink(size_t)>& sink) {
    return run_tasks(job, kernels, sink);
}

}  // namespace nearcell
