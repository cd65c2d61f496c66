// The cell-major scan by lower bounds that scores what passes at once (Refinement): integers give
// each code's lower bound, and the few codes under a query's threshold are scored exactly, from
// rows of the same cell or from the codes themselves, which the scan has brought into the caches.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include <nearcell/cpu/cell_walk.h>
#include <nearcell/cpu/coded_queries.h>
#include <nearcell/cpu/prefetch.h>
#include <nearcell/cpu/refine_cells.h>
#include <nearcell/cpu/scan_sinks.h>

namespace nearcell {
namespace {

constexpr size_t kSliceQueries = 96;  // queries a kernel call
constexpr size_t kGroupBlocks = 16;   // blocks a kernel call
constexpr size_t kSlots = kGroupBlocks * kBlock;
constexpr size_t kColdQueries = 16;  // that start at once: a tile of any kernel
constexpr size_t kAhead = 8;         // codes between asking for a query and scoring with it
constexpr float kLargest = std::numeric_limits<float>::max();

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

ScanCodesKernel* scan_codes_kernel(const KernelTable& kernels, CodeKind kind) {
    switch (kind) {
        case CodeKind::Bits: return kernels.scan_bits;
        case CodeKind::Product4: return kernels.scan_product4;
        default: return kernels.scan_int8;
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
          scan_(scan_codes_kernel(kernels, job.code.kind)),
          pair_(is_similarity(job.metric) ? kernels.ip_f32 : kernels.l2_f32),
          row_(row_kernel(kernels, job.refine->code.kind, is_similarity(job.metric))),
          lane_(is_similarity(job.metric) ? kernels.lane_ip_range_int8
                                          : kernels.lane_l2_range_int8),
          queries_(queries),
          split_(split),
          sink_(sink),
          coded_queries_(job, kernels, queries),
          hits_(std::make_unique_for_overwrite<Hit[]>(std::min(kSliceQueries, queries.size()) *
                                                      kSlots)),
          keys_(std::min(kColdQueries, queries.size()) * kSlots),
          decodes_(job.code.kind == CodeKind::Product4 && refine_.scores),
          moved_(refine_.code.dim),
          decoded_(decodes_ ? kAhead * job.code.dim : 0) {
        for (const uint32_t query : queries)
            thresholds_.push_back(sink_.threshold(query));
    }

    void scan(size_t first, std::span<const uint32_t> ends) {
        for_each_cell(
            job_, queries_, first, ends,
            [&](uint32_t number, std::span<const Pair> pairs) { scan_cell(number, pairs); });
        while (waiting_ != 0)
            refine_next();
    }
    float threshold(size_t place) const { return thresholds_[place]; }
    ScanCounts counts() const { return counts_; }

   private:
    // Some blocks of a cell.
    struct Part {
        uint32_t cell;
        size_t first_block, count;
        const uint16_t* masks;
        uint32_t first_slot() const { return static_cast<uint32_t>(first_block * kBlock); }
    };
    // A code that has passed and is to be scored.
    struct Passed {
        uint32_t query;  // within the task
        float lower;
        uint32_t cell, slot;
    };

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
                scan_slice({number, b, count, masks},
                           pairs.subspan(p, std::min(kSliceQueries, pairs.size() - p)));
            }
        }
    }

    void scan_slice(const Part& part, std::span<const Pair> pairs) {
        CodedQuery queries[kSliceQueries];
        uint32_t places[kSliceQueries];
        size_t cold = 0, warm = pairs.size();  // those without a threshold first
        for (const Pair& pair : pairs) {
            const bool is_cold = thresholds_[pair.query] == std::numeric_limits<float>::infinity();
            const size_t at = is_cold ? cold++ : --warm;
            places[at] = pair.query;
            queries[at] = coded_query(pair, part.cell);
        }
        for (size_t q = 0; q < cold; q += kColdQueries)
            scan_cold(part, {queries + q, std::min(kColdQueries, cold - q)}, places + q);
        const std::span<Hit> hits = lookup(part, {queries + cold, pairs.size() - cold});
        for (const Hit& hit : hits)
            let_wait({places[cold + hit.query], hit.key, part.cell, part.first_slot() + hit.slot});
    }

    // Queries without a threshold yet: the codes that seem nearest are scored first and make one.
    void scan_cold(const Part& part, std::span<const CodedQuery> queries, const uint32_t* places) {
        const std::span<Hit> hits = lookup(part, queries);
        std::fill_n(keys_.begin(), queries.size() * kSlots, std::numeric_limits<float>::infinity());
        uint32_t found_keys[kColdQueries] = {};
        for (const Hit& hit : hits) {
            keys_[hit.query * kSlots + hit.slot] = std::min(hit.key, kLargest);
            ++found_keys[hit.query];
        }
        const size_t slots = part.count * kBlock;
        for (size_t q = 0; q < queries.size(); ++q) {
            const float* const keys = keys_.data() + q * kSlots;
            const uint32_t place = places[q];
            const size_t wanted = sink_.wanted(queries_[place]);
            const float bound =
                wanted < found_keys[q] ? kernels_.smallest_bound(keys, slots, wanted) : kLargest;
            for (const bool near : {true, false}) {
                const float most = std::min(near ? bound : thresholds_[place], kLargest);
                const size_t found = kernels_.collect_rows(keys, slots, most, near_.data());
                for (size_t i = 0; i < found; ++i) {
                    const float key = keys[near_[i]];
                    if ((key <= bound) == near)
                        let_wait({place, key, part.cell, part.first_slot() + near_[i]});
                }
                while (near && waiting_ != 0)
                    refine_next();
            }
        }
    }

    CodedQuery coded_query(const Pair& pair, uint32_t cell) const {
        CodedQuery query = coded_queries_.of(pair, cell);
        query.threshold = thresholds_[pair.query];
        return query;
    }

    std::span<Hit> lookup(const Part& part, std::span<const CodedQuery> queries) {
        const uint8_t* blocks =
            job_.cells[part.cell].blocks + part.first_block * job_.code.block_bytes();
        return {hits_.get(), scan_(&job_.code, blocks, part.count, queries.data(), queries.size(),
                                   part.masks, hits_.get())};
    }

    // Scored when kAhead others have come, of this cell or the next ones: by then the memory that
    // is asked for here, and that the scan has not just read, is there.
    void let_wait(const Passed& passed) {
        if (refine_.scores) {
            prefetch_row(reinterpret_cast<const uint32_t*>(query_of(passed.query)),
                         refine_.code.dim);
        }
        if (!refine_.cell_rows.empty())
            prefetch_row(row_of(passed.cell, passed.slot), refine_.code.words);
        if (job_.cells[passed.cell].ids != nullptr)
            __builtin_prefetch(job_.cells[passed.cell].ids + passed.slot);
        if (waiting_ == kAhead) refine_next();
        const size_t at = (first_ + waiting_++) % kAhead;
        line_[at] = passed;
        // A load right behind the decoder's small stores would wait for them.
        if (decodes_) {
            kernels_.lane_product4(&job_.code, block_of(passed.cell, passed.slot),
                                   passed.slot % kBlock, decoded_of(at));
        }
    }

    void refine_next() {
        refine(line_[first_], decoded_of(first_));
        first_ = (first_ + 1) % kAhead;
        --waiting_;
    }

    const float* query_of(uint32_t q) const { return refine_.queries.row(queries_[q]); }
    const uint32_t* row_of(uint32_t number, size_t slot) const {
        return refine_.cell_rows[number] + slot * refine_.code.words;
    }

    const uint32_t* block_of(uint32_t number, size_t slot) const {
        return reinterpret_cast<const uint32_t*>(job_.cells[number].blocks +
                                                 slot / kBlock * job_.code.block_bytes());
    }
    float* decoded_of(size_t at) { return decodes_ ? &decoded_[at * job_.code.dim] : nullptr; }

    float exact_key(uint32_t q, uint32_t number, size_t slot, const float* decoded) {
        if (refine_.cell_rows.empty()) return exact_key_of_code(q, number, slot, decoded);
        const uint32_t* words = row_of(number, slot);
        if (row_ != nullptr) return row_(&refine_.code, words, query_of(q));
        return pair_(query_of(q), reinterpret_cast<const float*>(words), refine_.code.dim);
    }

    // Of a code itself, which may be relative to a centroid.
    float exact_key_of_code(uint32_t q, uint32_t number, size_t slot, const float* decoded) {
        const auto key_of = [&](const float* query) {
            return decodes_ ? pair_(query, decoded, job_.code.dim)
                            : lane_(&refine_.code, block_of(number, slot), slot % kBlock, query);
        };
        const float *query = query_of(q), *centroid = job_.cells[number].centroid;
        if (centroid == nullptr) return key_of(query);
        if (is_similarity(job_.metric))
            return pair_(query, centroid, moved_.size()) + key_of(query);
        for (size_t j = 0; j < moved_.size(); ++j)
            moved_[j] = query[j] - centroid[j];
        return key_of(moved_.data());
    }

    void refine(const Passed& passed, const float* decoded) {
        const auto [q, lower, cell, slot] = passed;
        if (!(lower <= thresholds_[q])) return;
        if (refine_.scores) ++counts_.refined;
        const float exact = refine_.scores ? exact_key(q, cell, slot, decoded) : lower;
        const float key = std::max(exact, lower);
        if (!(key <= thresholds_[q])) return;
        const int64_t* const ids = job_.cells[cell].ids;
        sink_.push(
            queries_[q],
            {key, exact, ids == nullptr ? static_cast<int64_t>(slot) : ids[slot], cell, slot});
        thresholds_[q] = sink_.threshold(queries_[q]);
    }

    const ScanJob& job_;
    const Refinement& refine_;
    const KernelTable& kernels_;
    ScanCodesKernel* scan_;
    PairKernel* pair_;
    RowKernel* row_;  // null: rows are floats
    LaneKernel* lane_;
    std::span<const uint32_t> queries_;
    size_t split_;
    Sink sink_;
    CodedQueries coded_queries_;
    std::vector<float> thresholds_;  // of the task's queries, side by side
    std::unique_ptr<Hit[]> hits_;
    std::vector<float> keys_;                                     // of cold queries, a line each
    std::vector<uint32_t> near_ = std::vector<uint32_t>(kSlots);  // slots of the near ones
    bool decodes_;                                                // codes that are waiting
    std::vector<float> moved_;                                    // a query relative to a centroid
    std::vector<float> decoded_;                                  // of the line
    Passed line_[kAhead];                                         // waiting ones, a ring
    size_t first_ = 0, waiting_ = 0;
    ScanCounts counts_;
};

template <class Sink>
ScanCounts run_tasks(const ScanJob& job, const KernelTable& kernels,
                     const std::function<Sink(size_t)>& sink) {
    return run_scans(job,
                     [&](const ScanJob& part, std::span<const uint32_t> queries, size_t split) {
                         return RefineScan(part, kernels, queries, split, sink(split));
                     });
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
