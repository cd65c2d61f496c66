#include <nearcell/gpu/device_cells.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include <nearcell/core/error.h>
#include <nearcell/core/parallel.h>
#include <nearcell/gpu/kernels/filter_places.cuh>
#include <nearcell/gpu/kernels/unpack_probes.cuh>
#include <nearcell/gpu/kernels/write_answers.cuh>

namespace nearcell::gpu {
namespace {

constexpr size_t kMostQueries = size_t{1} << 16;  // of a batch
// Candidates that the host scores where codes' bounds would ask for the re-rank store at once.
constexpr size_t kLeastHostDepth = 128, kHostDepth = 16;

unsigned blocks_of(size_t threads, int block) {
    const auto size = static_cast<size_t>(block);
    return static_cast<unsigned>(std::max<size_t>(1, (threads + size - 1) / size));
}

// An event that goes when its owner does.
class OwnEvent {
   public:
    OwnEvent() : event_(simt::create_event()) {}
    ~OwnEvent() {
        try {
            simt::destroy_event(event_);
        } catch (...) {  // after a failure that was thrown already
        }
    }
    OwnEvent(const OwnEvent&) = delete;
    OwnEvent& operator=(const OwnEvent&) = delete;
    // What `later` is given from now on runs after what `earlier` has been given.
    void order(simt::Stream earlier, simt::Stream later) {
        simt::record_event(event_, earlier);
        simt::wait_for_event(later, event_);
    }

   private:
    simt::Event event_;
};

Metric coarse_metric(Metric metric) {
    return is_similarity(metric) ? Metric::InnerProduct : Metric::L2;
}

}  // namespace

CudaCells::CudaCells(const SearchableCells& cells, const DeviceOptions& options, int ordinal,
                     size_t memory_limit)
    : options_(options),
      ordinal_(ordinal),
      device_(simt::device_properties()),
      budget_(memory_limit),
      sessions_(budget_) {
    const bool fits = !cells.rerank || [&] {
        size_t bytes = 0;
        for (const CellView& cell : cells.cells) {
            bytes += blocks_for(cell.size) * kBlock * (cells.code.words + cells.rerank->words + 1) *
                     sizeof(uint32_t);
        }
        return bytes <= memory_limit - std::min(memory_limit, options.scratch_bytes);
    }();
    const StoreOptions store{options.chunk_blocks, options.rerank_on_host || !fits};
    cells_ = std::make_unique<CellStore>(store, budget_, stream_.get());
    centroids_ = std::make_unique<CellStore>(StoreOptions{options.chunk_blocks, true}, budget_,
                                             stream_.get());
    set_cells(cells);
}

void CudaCells::update(const SearchableCells& cells) {
    simt::select_device(ordinal_);
    sessions_.clear();
    set_cells(cells);
}

void CudaCells::set_cells(const SearchableCells& cells) {
    dim_ = cells.dim;
    metric_ = cells.metric;
    has_rerank_ = cells.rerank.has_value();
    host_rerank_rows_.assign(cells.rerank_rows.begin(), cells.rerank_rows.end());
    if (has_rerank_) host_rerank_code_ = *cells.rerank;
    steps_.set(cells.steps, cells.dim, budget_, stream_.get());
    cells_->update(cells, 0);
    // The centroids, as one cell whose ids are their numbers.
    const FloatBlocks blocks(cells.centroids);
    CellView all;
    all.blocks = reinterpret_cast<const uint8_t*>(blocks.data());
    all.size = cells.centroids.rows;
    all.version = ++centroid_version_;
    SearchableCells coarse;
    coarse.dim = cells.centroids.cols;
    coarse.metric = coarse_metric(cells.metric);
    coarse.code.kind = CodeKind::Float32;
    coarse.code.dim = coarse.code.words = cells.centroids.cols;
    coarse.cells = {&all, 1};
    centroids_->update(coarse, 0);
}

// One search of one caller.
class CudaCells::Call {
   public:
    Call(const CudaCells& cells, Session& session, const DeviceSearch& search)
        : cells_(cells), session_(session), search_(search) {
        options_.metric = cells.metric_;
        options_.k = std::min(std::max<size_t>(search.depth, search.k), cells.cells_->vectors());
        if (search.depth == 0) options_.k = std::min(search.k, cells.cells_->vectors());
        options_.refined = search.refine && cells.cells_->rerank_rows() != nullptr;
        if (search.refine && !options_.refined) {
            const size_t depth = std::max(kLeastHostDepth, kHostDepth * search.k);
            options_.k = std::min(depth, cells.cells_->vectors());
        }
        options_.margin = search.margin;
        options_.reach = search.reach;
        options_.room = cells.options_.candidates;
        options_.scratch_bytes = cells.options_.scratch_bytes;
        if (search.filter != nullptr && !search.filter->allows_all()) make_masks(*search.filter);
    }

    // How many queries at a time.
    size_t batch_queries() const {
        const size_t each = ChunkSearch::bytes_per_query(*cells_.cells_, options_, search_.probes) +
                            ChunkSearch::bytes_per_query(*cells_.centroids_, coarse_options(), 1) +
                            3 * cells_.steps_.widest() * sizeof(float) +
                            3 * search_.k * sizeof(uint64_t);
        return std::clamp<size_t>(cells_.options_.scratch_bytes / each, 1, kMostQueries);
    }

    void search(const DeviceBatch& batch, size_t first, size_t count) {
        ChunkSearch cells(*cells_.cells_, session_, cells_.device_, options_);
        const ChunkQueries queries = prepare(batch, first, count);
        BestLists best = make_lists(count, options_.k);
        if (options_.k > 0) cells.search(queries, best);
        const bool by_rows = search_.depth > 0 || (search_.refine && !options_.refined);
        if (by_rows && options_.k > 0) {
            if (cells_.cells_->rerank_rows() == nullptr) {
                rerank_on_host(batch, first, queries, best);
                add_counts(cells);
                return;
            }
            const BestLists reranked =
                make_lists(count, std::min(search_.k, cells_.cells_->vectors()));
            cells.rerank(queries, best, reranked);
            best = reranked;
        }
        answer(batch, first, count, best);
        add_counts(cells);
    }

    void range(const DeviceBatch& batch, size_t first, size_t count, float radius,
               float scan_radius, std::span<std::vector<Candidate>> hits) {
        constexpr float kBelow = -std::numeric_limits<float>::infinity();
        options_.k = 1;
        options_.refined = false;
        ChunkSearch cells(*cells_.cells_, session_, cells_.device_, options_);
        const ChunkQueries queries = prepare(batch, first, count);
        const bool by_rows = cells_.cells_->rerank_rows() != nullptr;
        const float limit = std::nextafter(cells_.has_rerank_ ? scan_radius : radius, kBelow);
        const std::vector<RangeHits> found = cells.range(queries, limit, by_rows);
        parallel_for(count, search_.threads, [&](size_t q, int) {
            std::vector<Candidate>& list = hits[first + q];
            for (size_t i = 0; i < found[q].keys.size(); ++i)
                list.push_back(candidate_of(found[q].keys[i], found[q].places[i]));
        });
        if (cells_.has_rerank_ && !by_rows) score_on_host(queries, hits.subspan(first, count), 0);
        for (std::vector<Candidate>& list : hits.subspan(first, count)) {
            std::erase_if(list, [&](const Candidate& c) { return !(c.key < radius); });
            std::sort(list.begin(), list.end(), nearer);
        }
        add_counts(cells);
    }

    SearchStats stats() const { return stats_; }

   private:
    ChunkSearchOptions coarse_options() const {
        ChunkSearchOptions options;
        options.metric = coarse_metric(cells_.metric_);
        options.k = search_.probes;
        options.scratch_bytes = cells_.options_.scratch_bytes;
        options.room = cells_.options_.candidates;
        return options;
    }

    void make_masks(const IdFilter& filter) {
        const simt::Stream stream = session_.stream.get();
        const CellStore& store = *cells_.cells_;
        IdFilterRule rule = filter.rule();
        auto* const bits = session_.scratch.take<uint8_t>(rule.bit_bytes + 1);
        auto* const ids = session_.scratch.take<int64_t>(rule.id_count + 1);
        if (rule.bit_bytes > 0) simt::copy_to_device(bits, rule.bits, rule.bit_bytes, stream);
        if (rule.id_count > 0)
            simt::copy_to_device(ids, rule.ids, rule.id_count * sizeof(int64_t), stream);
        rule.bits = bits;
        rule.ids = ids;
        const StoredCodes stored = store.codes();
        auto* const masks = session_.scratch.take<unsigned short>(store.blocks() + 1);
        simt::launch(
            {"filter_places", blocks_of(store.blocks(), kFilterThreads), kFilterThreads, 0, stream},
            filter_places, rule, stored.tags, store.ids(), store.id_count(), store.blocks(), masks);
        options_.masks = masks;
    }

    ChunkQueries prepare(const DeviceBatch& batch, size_t first, size_t count) {
        const simt::Stream stream = session_.stream.get();
        ChunkQueries queries;
        queries.count = count;
        queries.original = cells_.steps_.load(batch, first, count, cells_.metric_, session_);
        queries.coded = cells_.steps_.apply(queries.original, count, session_);
        queries.probes.width = 1;
        if (cells_.centroids_->vectors() == 0) return queries;
        const size_t probes = search_.probes;
        ChunkSearch coarse(*cells_.centroids_, session_, cells_.device_, coarse_options());
        const BestLists best = make_lists(count, probes);
        coarse.search(queries, best);
        auto* const cells = session_.scratch.take<unsigned>(count * probes);
        auto* const keys = session_.scratch.take<float>(count * probes);
        simt::launch(
            {"unpack_probes", blocks_of(count * probes, kUnpackThreads), kUnpackThreads, 0, stream},
            unpack_probes, best.keys, count * probes, cells, keys);
        queries.probes = {cells, keys, nullptr, probes};
        return queries;
    }

    BestLists make_lists(size_t count, size_t k) {
        Scratch& scratch = session_.scratch;
        const BestLists lists{scratch.take<uint64_t>(count * k), scratch.take<unsigned>(count * k),
                              scratch.take<unsigned>(count), k};
        simt::fill_bytes(lists.held, 0, count * sizeof(unsigned), session_.stream.get());
        return lists;
    }

    // Into the caller's arrays.
    void answer(const DeviceBatch& batch, size_t first, size_t count, BestLists best) {
        const simt::Stream stream = session_.stream.get();
        Answers answers{};
        answers.metric = cells_.metric_;
        answers.ids = cells_.cells_->ids();
        answers.k = search_.k;
        const size_t values = count * search_.k;
        if (batch.on_device) {
            answers.out_scores = batch.scores + first * search_.k;
            answers.out_ids = batch.ids + first * search_.k;
            answers.out_counts = batch.counts == nullptr ? nullptr : batch.counts + first;
        } else {
            answers.out_scores = session_.scratch.take<float>(values);
            answers.out_ids = session_.scratch.take<int64_t>(values);
            answers.out_counts = session_.scratch.take<uint64_t>(count);
        }
        simt::launch(
            {"write_answers", blocks_of(values, kAnswerThreads), kAnswerThreads, 0, stream},
            write_answers, best, count, answers);
        if (batch.on_device) return;
        const size_t bytes = values * (sizeof(int64_t) + sizeof(float)) + count * sizeof(uint64_t);
        char* const pinned = session_.download.get<char>(bytes);
        auto* const ids = reinterpret_cast<int64_t*>(pinned);
        auto* const counts = reinterpret_cast<uint64_t*>(ids + values);
        auto* const scores = reinterpret_cast<float*>(counts + count);
        simt::copy_to_host(ids, answers.out_ids, values * sizeof(int64_t), stream);
        simt::copy_to_host(counts, answers.out_counts, count * sizeof(uint64_t), stream);
        simt::copy_to_host(scores, answers.out_scores, values * sizeof(float), stream);
        simt::synchronize(stream);
        std::copy_n(ids, values, batch.ids + first * search_.k);
        std::copy_n(scores, values, batch.scores + first * search_.k);
        if (batch.counts != nullptr) std::copy_n(counts, count, batch.counts + first);
    }

    Candidate candidate_of(uint64_t packed, unsigned place) const {
        Candidate candidate;
        candidate.key = candidate.lower = std::bit_cast<float>(key_bits(packed));
        candidate.id = cells_.cells_->id_of(tag_of(packed));
        const auto [cell, slot] = cells_.cells_->locate(place);
        candidate.cell = cell;
        candidate.slot = slot;
        return candidate;
    }

    // The k best of some candidates, or all for 0, by the re-rank rows in host memory.
    void score_on_host(const ChunkQueries& queries, std::span<std::vector<Candidate>> lists,
                       size_t k) {
        std::vector<float> values(queries.count * cells_.dim_);
        simt::copy_to_host(values.data(), queries.original, values.size() * sizeof(float),
                           session_.stream.get());
        simt::synchronize(session_.stream.get());
        RerankJob job;
        job.queries = {values.data(), queries.count, cells_.dim_};
        job.metric = cells_.metric_;
        job.code = cells_.host_rerank_code_;
        job.cell_rows = cells_.host_rerank_rows_;
        job.k = k;
        job.threads = search_.threads;
        stats_.reranked += cpu_backend().rerank(job, lists).scored;
    }

    void rerank_on_host(const DeviceBatch& batch, size_t first, const ChunkQueries& queries,
                        BestLists best) {
        const simt::Stream stream = session_.stream.get();
        const size_t count = queries.count, k = best.k;
        std::vector<uint64_t> keys(count * k);
        std::vector<unsigned> places(count * k), held(count);
        simt::copy_to_host(held.data(), best.held, count * sizeof(unsigned), stream);
        simt::copy_to_host(keys.data(), best.keys, keys.size() * sizeof(uint64_t), stream);
        simt::copy_to_host(places.data(), best.places, places.size() * sizeof(unsigned), stream);
        simt::synchronize(stream);
        std::vector<std::vector<Candidate>> lists(count);
        parallel_for(count, search_.threads, [&](size_t q, int) {
            for (size_t i = 0; i < held[q]; ++i)
                lists[q].push_back(candidate_of(keys[q * k + i], places[q * k + i]));
        });
        score_on_host(queries, lists, search_.k);
        std::vector<float> scores(count * search_.k, worst_score(cells_.metric_));
        std::vector<int64_t> ids(count * search_.k, -1);
        std::vector<uint64_t> counts(count);
        for (size_t q = 0; q < count; ++q) {
            counts[q] = std::min(lists[q].size(), search_.k);
            for (size_t i = 0; i < counts[q]; ++i) {
                scores[q * search_.k + i] = reported_score(cells_.metric_, lists[q][i].key);
                ids[q * search_.k + i] = lists[q][i].id;
            }
        }
        const auto hand_out = [&](auto* to, const auto& values) {
            if (to == nullptr) return;
            if (batch.on_device)
                simt::copy_to_device(to, values.data(), values.size() * sizeof(values[0]), stream);
            else
                std::copy(values.begin(), values.end(), to);
        };
        hand_out(batch.scores + first * search_.k, scores);
        hand_out(batch.ids + first * search_.k, ids);
        hand_out(batch.counts == nullptr ? nullptr : batch.counts + first, counts);
        if (batch.on_device) simt::synchronize(stream);
    }

    void add_counts(const ChunkSearch& cells) {
        const SearchCounters counted = cells.counters();
        stats_.scanned += counted.scanned;
        if (options_.refined || (search_.depth > 0 && cells_.cells_->rerank_rows() != nullptr))
            stats_.reranked += counted.scored;
    }

    const CudaCells& cells_;
    Session& session_;
    const DeviceSearch& search_;
    ChunkSearchOptions options_;
    SearchStats stats_;
};

SearchStats CudaCells::search(const DeviceBatch& batch, const DeviceSearch& search) const {
    simt::select_device(ordinal_);
    SessionPool::Lease session = sessions_.lease();
    const simt::Stream caller = static_cast<simt::Stream>(batch.stream);
    OwnEvent event;
    if (batch.on_device) event.order(caller, session->stream.get());
    Call call(*this, *session, search);
    const size_t mark = session->scratch.mark();
    size_t most = call.batch_queries();
    for (size_t first = 0; first < batch.queries.rows;) {
        const size_t count = std::min(most, batch.queries.rows - first);
        try {
            call.search(batch, first, count);
        } catch (const Error& error) {
            // Other calls' scratch may be in the way: with less, if that is possible.
            if (error.code() != StatusCode::OutOfMemory || count == 1) throw;
            sessions_.clear();
            session->scratch.rewind(mark);
            most = (count + 1) / 2;
            continue;
        }
        session->scratch.rewind(mark);
        first += count;
    }
    if (batch.on_device) event.order(session->stream.get(), caller);
    session.done();
    SearchStats stats = call.stats();
    stats.plan = "cuda:" + std::to_string(ordinal_) + ", batches of " + std::to_string(most) +
                 " queries at most";
    return stats;
}

SearchStats CudaCells::range_search(const Vectors& queries, float radius, float scan_radius,
                                    const DeviceSearch& search,
                                    std::span<std::vector<Candidate>> hits) const {
    simt::select_device(ordinal_);
    SessionPool::Lease session = sessions_.lease();
    DeviceSearch settings = search;
    settings.k = 1;
    settings.depth = 0;
    settings.refine = false;
    DeviceBatch batch;
    batch.queries = queries;
    Call call(*this, *session, settings);
    const size_t mark = session->scratch.mark(), most = call.batch_queries();
    for (size_t first = 0; first < queries.rows; first += most) {
        call.range(batch, first, std::min(most, queries.rows - first), radius, scan_radius, hits);
        session->scratch.rewind(mark);
    }
    session.done();
    SearchStats stats = call.stats();
    stats.plan = "cuda:" + std::to_string(ordinal_);
    return stats;
}

}  // namespace nearcell::gpu
