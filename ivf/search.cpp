// CellIndex::search and range_search: prepare queries, choose cells, scan them, re-rank, hand out.
#include <algorithm>
#include <cmath>
#include <limits>

#include <nearcell/core/parallel.h>
#include <nearcell/ivf/device_search.h>
#include <nearcell/ivf/index_state.h>
#include <nearcell/ivf/planner.h>
#include <nearcell/ivf/search_settings.h>

namespace nearcell {
namespace {

constexpr double kRangeSlack = 0.1;     // how far codes may err on a range that is re-scored
constexpr double kIntegerCost = 0.125;  // of a scan by integers, against one of decoded codes

// The cells as one call sees them: its filter's masks, evaluated once for all queries.
class FilteredCells {
   public:
    FilteredCells(const std::vector<CellView>& views, const IdFilter* filter) : views_(views) {
        if (filter == nullptr || filter->allows_all()) return;
        filter_ = filter;
        own_ = views;
        masks_.resize(views.size());
    }
    // Evaluates the filter for the cells that these probes name.
    void prepare(const std::vector<uint32_t>& probes, int threads) {
        if (filter_ == nullptr) return;
        std::vector<uint32_t> fresh(probes);
        std::sort(fresh.begin(), fresh.end());
        fresh.erase(std::unique(fresh.begin(), fresh.end()), fresh.end());
        std::erase_if(fresh, [&](uint32_t c) { return own_[c].masks != nullptr; });
        parallel_for(fresh.size(), threads, [&](size_t i, int) {
            CellView& view = own_[fresh[i]];
            std::vector<uint16_t>& masks = masks_[fresh[i]];
            masks.resize(blocks_for(view.size) + 1);  // never empty: marks the cell as done
            for (size_t b = 0; b * kBlock < view.size; ++b) {
                masks[b] =
                    filter_->mask(view.ids + b * kBlock, std::min(kBlock, view.size - b * kBlock));
            }
            view.masks = masks.data();
        });
    }
    std::span<const CellView> views() const { return filter_ == nullptr ? views_ : own_; }

   private:
    const std::vector<CellView>& views_;
    const IdFilter* filter_ = nullptr;
    std::vector<CellView> own_;
    std::vector<std::vector<uint16_t>> masks_;
};

}  // namespace

// One search or range search: what stays the same over its batches of queries.
class CellSearch {
   public:
    CellSearch(const CellIndex::State& state, const Vectors& queries, const SearchOptions& options,
               const SearchSettings& settings)
        : state_(state),
          queries_(queries),
          options_(options),
          probes_(settings.probes),
          cutoff_(settings.cutoff),
          batch_(batch_queries(settings)),
          cells_(state.views, options.filter) {}

    // Calls batch(first query, count) for batches of bounded size, reporting progress.
    template <class Batch>
    void for_batches(Batch&& batch) {
        const double total = static_cast<double>(queries_.rows);
        for (size_t first = 0; first < queries_.rows; first += batch_) {
            report(options_.progress, "search", static_cast<double>(first), total);
            batch(first, std::min(batch_, queries_.rows - first));
        }
        report(options_.progress, "search", total, total);
    }

    // Prepares a batch and its scan; the job points into this object.
    const ScanJob& start_batch(size_t first, size_t count) {
        threads_ =
            plan_scan(count, codes(count), resolve_threads(options_.threads), state_.costs.known())
                .threads;
        state_.prepare(queries_, first, count, threads_, rows_);
        probe_cells_.assign(count * probes_, 0);
        probe_keys_.assign(count * probes_, 0.0f);
        const bool has_centroids = !state_.centroids.empty();
        if (has_centroids) {
            state_.backend->nearest(rows_.coded, state_.coarse, probes_, probe_cells_.data(),
                                    probe_keys_.data(), threads_);
        }
        cells_.prepare(probe_cells_, threads_);
        job_ = ScanJob();
        job_.queries = rows_.coded;
        job_.metric = state_.options.metric;
        job_.code = state_.codec->view();
        job_.cells = cells_.views();
        job_.probes = probe_cells_.data();
        job_.probe_count = probes_;
        job_.probe_keys = has_centroids ? probe_keys_.data() : nullptr;
        if (has_centroids) job_.reach = state_.reach_of(cutoff_);
        return job_;
    }

    // Says how the loops of the prepared scan go; with a choice, as the measured costs advise.
    void plan(size_t k) {
        const size_t count = job_.queries.rows;
        const int threads = resolve_threads(options_.threads);
        const ScanCosts costs =
            state_.costs.of(*state_.backend, job_, k, state_.size, codes(count), threads);
        planned_ = plan_scan(count, codes(count), threads, costs);
        job_.plan = planned_.loops;
        job_.threads = planned_.threads;
    }
    std::string plan_text() const { return describe_plan(planned_, job_.queries.rows); }

    // The scan goes by integers, and scores candidates exactly on its way, from the re-rank store
    // or from the codes; or not at all, where they are re-ranked afterwards.
    void scan_by_integers(bool from_rerank_store, bool scores) {
        refinement_.queries = from_rerank_store ? rows_.original : rows_.coded;
        refinement_.code = from_rerank_store ? state_.rerank_codec->view() : job_.code;
        if (from_rerank_store) refinement_.cell_rows = state_.rerank_rows;
        refinement_.center = state_.center.empty() ? nullptr : state_.center.data();
        if (!state_.centroid_squares.empty())
            refinement_.cell_squares = state_.centroid_squares.data();
        refinement_.residual = state_.options.residual;
        refinement_.margin = scores ? options_.margin : 0.0f;
        refinement_.scores = scores;
        job_.refine = &refinement_;
    }

    void rerank(size_t k, std::span<std::vector<Candidate>> candidates, SearchStats& stats) const {
        RerankJob job;
        job.queries = rows_.original;
        job.metric = state_.options.metric;
        job.code = state_.rerank_codec->view();
        job.cell_rows = state_.rerank_rows;
        job.k = k;
        job.threads = options_.threads;
        const RerankCounts counts = state_.backend->rerank(job, candidates);
        stats.reranked += counts.scored;
        stats.rerank_skipped += counts.skipped;
    }

    float score(const Candidate& candidate) const {
        return reported_score(state_.options.metric, candidate.key);
    }
    // Keys become those of the scores that are reported.
    void clip(std::vector<Candidate>& candidates) const {
        for (Candidate& candidate : candidates)
            candidate.key = key_from_score(state_.options.metric, score(candidate));
    }

   private:
    // About how many a batch of queries looks at.
    uint64_t codes(size_t queries) const {
        return queries * (state_.size / state_.options.cells + 1) * probes_;
    }
    // What a cutoff leaves of the probes is not known before; it is little.
    size_t batch_queries(const SearchSettings& settings) const {
        double rows = static_cast<double>(settings.depth);
        if (!std::isfinite(cutoff_))
            rows += static_cast<double>(codes(1)) * (settings.by_integers ? kIntegerCost : 1.0);
        return queries_per_batch(rows * static_cast<double>(state_.options.dim),
                                 resolve_threads(options_.threads));
    }

    const CellIndex::State& state_;
    const Vectors& queries_;
    const SearchOptions& options_;
    size_t probes_;
    float cutoff_;
    size_t batch_;  // queries
    FilteredCells cells_;
    int threads_ = 1;  // of a batch's steps but its scan
    PreparedRows rows_;
    std::vector<uint32_t> probe_cells_;
    std::vector<float> probe_keys_;
    ScanJob job_;
    PlannedScan planned_;
    Refinement refinement_;
};

namespace {

// What a search finds with these settings.
SearchResult search_cells(const CellIndex::State& state, const Vectors& queries,
                          const SearchOptions& options, const SearchSettings& settings) {
    SearchResult result = empty_result(queries.rows, options.k, state.options.metric);
    result.stats.probes = settings.probes;
    result.stats.rerank = settings.reranked ? settings.depth : 0;
    if (state.device != nullptr) {
        search_on_device(state, queries, options, settings, result);
        return result;
    }
    CellSearch search(state, queries, options, settings);
    search.for_batches([&](size_t first, size_t count) {
        const ScanJob& job = search.start_batch(first, count);
        if (settings.by_integers) search.scan_by_integers(settings.refine, !settings.reranked);
        search.plan(settings.depth);
        std::vector<TopK> best(count, TopK(settings.depth));
        const ScanCounts counts = state.backend->scan_cells(job, best);
        result.stats.scanned += counts.scanned;
        if (settings.refine) result.stats.reranked += counts.refined;
        result.stats.plan = search.plan_text();
        std::vector<std::vector<Candidate>> lists(count);
        parallel_for((count + 63) / 64, job.threads, [&](size_t task, int) {
            for (size_t q = task * 64; q < std::min(count, task * 64 + 64); ++q) {
                lists[q] = best[q].sorted();
                if (settings.by_integers && !settings.reranked) {
                    for (Candidate& candidate : lists[q])
                        candidate.key = candidate.lower;
                    std::sort(lists[q].begin(), lists[q].end(), nearer);
                } else if (!state.bounds_hold() || job.code.kind == CodeKind::Bits) {
                    // No bound, or one that may fail: each candidate is scored again.
                    for (Candidate& candidate : lists[q])
                        candidate.lower = candidate.key;
                }
            }
        });
        if (settings.reranked) search.rerank(settings.k, lists, result.stats);
        for (size_t q = 0; q < count; ++q) {
            const size_t row = (first + q) * options.k;
            result.counts[first + q] = lists[q].size();
            for (size_t i = 0; i < lists[q].size(); ++i) {
                result.scores[row + i] = search.score(lists[q][i]);
                result.ids[row + i] = lists[q][i].id;
            }
        }
    });
    return result;
}

// Again, in all cells, for queries that found fewer than there may be.
void search_everywhere(const CellIndex::State& state, const Vectors& queries,
                       const SearchOptions& options, SearchSettings settings,
                       SearchResult& result) {
    std::vector<size_t> rows;
    for (size_t q = 0; q < queries.rows; ++q) {
        if (result.counts[q] < settings.k) rows.push_back(q);
    }
    if (rows.empty()) return;
    std::vector<float> values(rows.size() * queries.cols);
    const MatrixView<float> some(values.data(), rows.size(), queries.cols);
    gather_rows(queries, rows.data(), some, options.threads);
    settings.probes = state.options.cells;
    settings.cutoff = std::numeric_limits<float>::infinity();
    SearchOptions again = options;
    if (options.progress) {
        again.progress = [&](std::string_view, double done, double total) {
            return options.progress("search in all cells", done, total);
        };
    }
    const SearchResult found = search_cells(state, some, again, settings);
    for (size_t i = 0; i < rows.size(); ++i) {
        const auto from = static_cast<std::ptrdiff_t>(i * result.k);
        const auto to = static_cast<std::ptrdiff_t>(rows[i] * result.k);
        const auto k = static_cast<std::ptrdiff_t>(result.k);
        std::copy_n(found.scores.begin() + from, k, result.scores.begin() + to);
        std::copy_n(found.ids.begin() + from, k, result.ids.begin() + to);
        result.counts[rows[i]] = found.counts[i];
    }
    result.stats.scanned += found.stats.scanned;
    result.stats.reranked += found.stats.reranked;
    result.stats.rerank_skipped += found.stats.rerank_skipped;
}

}  // namespace

SearchResult CellIndex::search(const Vectors& queries, const SearchOptions& options) const {
    check(options.k >= 1, StatusCode::InvalidArgument,
          "k = 0 must be at least 1: ask for one neighbour or more");
    const size_t default_probes = this->default_probes();
    const std::shared_lock lock(state_->mutex);
    const State& state = *state_;
    const SearchSettings settings = resolve_search(state, options, default_probes);
    check_dim(queries, state.options.dim, "queries");
    if (state.device == nullptr) check_finite(queries, "queries", options.threads);
    SearchResult result = search_cells(state, queries, options, settings);
    if (options.filter != nullptr && options.probes == 0 && settings.probes < state.options.cells)
        search_everywhere(state, queries, options, settings, result);
    return result;
}

RangeResult CellIndex::range_search(const Vectors& queries, float radius,
                                    const SearchOptions& options) const {
    check(!std::isnan(radius), StatusCode::InvalidArgument,
          "radius is NaN: pass a score (for L2 a squared distance)");
    const size_t default_probes = this->default_probes();
    const std::shared_lock lock(state_->mutex);
    const State& state = *state_;
    const SearchSettings settings = resolve_search(state, options, default_probes);
    check_queries(state, queries, options.threads);
    // No cosine is below -1, as reported: estimates that are must not leave a vector out.
    const bool is_all = state.options.metric == Metric::Cosine && radius < -1.0f;
    const float limit = is_all ? std::numeric_limits<float>::infinity()
                               : key_from_score(state.options.metric, radius);
    // Codes err: with a re-rank store look somewhat further, then decide by the exact score.
    const float scan_limit =
        state.rerank_codec ? limit + static_cast<float>(kRangeSlack) * std::fabs(limit) : limit;
    RangeResult result;
    result.queries = queries.rows;
    result.offsets.assign(queries.rows + 1, 0);
    result.stats.probes = settings.probes;
    if (state.device != nullptr) {
        range_search_on_device(state, queries, {limit, scan_limit}, options, settings, result);
        return result;
    }
    CellSearch search(state, queries, options, settings);
    search.for_batches([&](size_t first, size_t count) {
        const ScanJob& job = search.start_batch(first, count);
        const bool by_integers = state.scans_by_integers();
        if (by_integers) search.scan_by_integers(false, true);
        search.plan(1);
        std::vector<std::vector<Candidate>> hits(count);
        result.stats.scanned += state.backend->scan_cells_range(job, scan_limit, hits).scanned;
        result.stats.plan = search.plan_text();
        for (size_t q = 0; by_integers && q < count; ++q) {
            for (Candidate& candidate : hits[q])
                candidate.key = candidate.lower;
        }
        if (state.rerank_codec) search.rerank(0, hits, result.stats);
        for (size_t q = 0; q < count; ++q) {
            search.clip(hits[q]);
            std::erase_if(hits[q], [&](const Candidate& c) { return !(c.key < limit); });
            std::sort(hits[q].begin(), hits[q].end(), nearer);
            for (const Candidate& candidate : hits[q]) {
                result.scores.push_back(search.score(candidate));
                result.ids.push_back(candidate.id);
            }
            result.offsets[first + q + 1] = result.ids.size();
        }
    });
    return result;
}

}  // namespace nearcell
