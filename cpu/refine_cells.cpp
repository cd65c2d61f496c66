// The cell-major scan of one-bit codes that scores what passes at once (Refinement): look-ups give
// each code's lower bound, and the few codes under a query's threshold are scored exactly from
// rows of the same cell, which the queries before have brought into the caches.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include <nearcell/cpu/cell_walk.h>
#include <nearcell/cpu/cpu_backend.h>
#include <nearcell/cpu/prefetch.h>

namespace nearcell {
namespace {

constexpr size_t kSliceQueries = 96;  // queries a kernel call
constexpr size_t kGroupBlocks = 16;   // blocks a kernel call
constexpr size_t kTableBytes = 128;   // of a query, for each line of a code

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
class RefineScan {
   public:
    RefineScan(const ScanJob& job, const KernelTable& kernels, std::span<const uint32_t> queries,
               size_t split, std::span<TopK> results)
        : job_(job),
          refine_(*job.refine),
          kernels_(kernels),
          similarity_(is_similarity(job.metric)),
          pair_(similarity_ ? kernels.ip_f32 : kernels.l2_f32),
          row_(row_kernel(kernels, job.refine->code.kind, similarity_)),
          queries_(queries),
          split_(split),
          results_(results),
          thresholds_(queries.size()),
          prepared_(queries.size()),
          tables_((job.code.words - kBitsFactors) * kTableBytes * queries.size()),
          hits_(kSliceQueries * kGroupBlocks * kBlock) {
        for (size_t q = 0; q < queries.size(); ++q)
            prepare(q);
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
    // The query's tables, and what all cells share of its LookupQuery.
    void prepare(size_t q) {
        const size_t d = job_.code.dim;
        const float* query = job_.queries.row(queries_[q]);
        thresholds_[q] = results_[queries_[q]].threshold();
        LookupQuery& prepared = prepared_[q];
        if (similarity_) {
            prepared.reach = refine_.margin * 0.5f * std::sqrt(-kernels_.ip_f32(query, query, d));
        } else if (refine_.center != nullptr) {
            moved_.resize(d);
            for (size_t j = 0; j < d; ++j)
                moved_[j] = query[j] - refine_.center[j];
            query = moved_.data();
        }
        uint8_t* tables = tables_.mutable_data() + tables_.size() / queries_.size() * q;
        kernels_.bits_tables(query, d, tables, &prepared.unit, &prepared.offset);
        prepared.tables = tables;
        if (!similarity_) {  // |q - x|^2 has the dot product twice
            prepared.unit *= 2.0f;
            prepared.offset *= 2.0f;
        }
    }

    LookupQuery lookup_query(const Pair& pair) const {
        LookupQuery query = prepared_[pair.query];
        query.shift = pair.key;
        if (!similarity_) query.reach = refine_.margin * std::sqrt(std::max(0.0f, query.shift));
        query.threshold = thresholds_[pair.query];
        return query;
    }

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
        LookupQuery queries[kSliceQueries];
        uint32_t places[kSliceQueries];
        size_t warm = 0;
        for (const Pair& pair : pairs) {
            if (thresholds_[pair.query] == std::numeric_limits<float>::infinity()) {
                scan_cold(number, first_block, count, masks, pair);
                continue;
            }
            places[warm] = pair.query;
            queries[warm++] = lookup_query(pair);
        }
        const std::span<Hit> hits = lookup(number, first_block, count, masks, {queries, warm});
        prefetch_rows(number, first_block, hits);
        for (const Hit& hit : hits)
            refine(places[hit.query], hit.key, number, first_block * kBlock + hit.slot);
    }

    // A query without a threshold yet: the codes that seem nearest are scored first and make one.
    void scan_cold(uint32_t number, size_t first_block, size_t count, const uint16_t* masks,
                   const Pair& pair) {
        const LookupQuery query = lookup_query(pair);
        const std::span<Hit> hits = lookup(number, first_block, count, masks, {&query, 1});
        const size_t first = std::min(results_[queries_[pair.query]].k(), hits.size());
        std::nth_element(hits.begin(), hits.begin() + static_cast<ptrdiff_t>(first), hits.end(),
                         [](const Hit& a, const Hit& b) { return a.key < b.key; });
        prefetch_rows(number, first_block, hits.first(first));
        for (const Hit& hit : hits)
            refine(pair.query, hit.key, number, first_block * kBlock + hit.slot);
    }

    std::span<Hit> lookup(uint32_t number, size_t first_block, size_t count, const uint16_t* masks,
                          std::span<const LookupQuery> queries) {
        const uint8_t* blocks = job_.cells[number].blocks + first_block * job_.code.block_bytes();
        return {hits_.data(), kernels_.scan_bits(&job_.code, blocks, count, queries.data(),
                                                 queries.size(), masks, hits_.data())};
    }

    void prefetch_rows(uint32_t number, size_t first_block, std::span<const Hit> hits) const {
        for (const Hit& hit : hits)
            prefetch_row(row(number, first_block * kBlock + hit.slot), refine_.code.words);
    }

    const uint32_t* row(uint32_t number, size_t slot) const {
        return refine_.cell_rows[number] + slot * refine_.code.words;
    }

    void refine(uint32_t q, float lower, uint32_t number, size_t slot) {
        if (!(lower <= thresholds_[q])) return;
        ++counts_.refined;
        const float* query = refine_.queries.row(queries_[q]);
        const uint32_t* words = row(number, slot);
        const float exact =
            row_ == nullptr ? pair_(query, reinterpret_cast<const float*>(words), refine_.code.dim)
                            : row_(&refine_.code, words, query);
        const float key = std::max(exact, lower);
        if (!(key <= thresholds_[q])) return;
        const CellView& cell = job_.cells[number];
        const int64_t id = cell.ids == nullptr ? static_cast<int64_t>(slot) : cell.ids[slot];
        TopK& best = results_[queries_[q]];
        best.push({key, exact, id, number, static_cast<uint32_t>(slot)});
        thresholds_[q] = best.threshold();
    }

    const ScanJob& job_;
    const Refinement& refine_;
    const KernelTable& kernels_;
    bool similarity_;
    PairKernel* pair_;
    RowKernel* row_;
    std::span<const uint32_t> queries_;
    size_t split_;
    std::span<TopK> results_;
    std::vector<float> thresholds_;      // of the task's queries, side by side
    std::vector<LookupQuery> prepared_;  // likewise
    AlignedBuffer<uint8_t> tables_;
    std::vector<float> moved_;
    std::vector<Hit> hits_;
    ScanCounts counts_;
};

}  // namespace

ScanCounts CpuBackend::refine_cells(const ScanJob& job, std::span<TopK> results) const {
    SplitResults parts(results, job.plan.splits);
    std::atomic<uint64_t> scanned{0}, refined{0};
    run_plan(job, [&](std::span<const uint32_t> queries, size_t split) {
        const ScanCounts counts = RefineScan(job, kernels_, queries, split, parts.of(split)).run();
        scanned += counts.scanned;
        refined += counts.refined;
    });
    parts.merge();
    return {scanned, refined};
}

}  // namespace nearcell
