#include <nearcell/ivf/device_search.h>

#include <algorithm>

namespace nearcell {
namespace {

// The device's copy, equal to the cells.
const DeviceCells& held_cells(const CellIndex::State& state) {
    const std::lock_guard lock(state.held_mutex);
    if (state.held && state.held_changes == state.changes) return *state.held;
    std::vector<VectorStep> steps;
    for (const Transform& transform : state.transforms)
        steps.push_back(transform.step());
    SearchableCells cells;
    cells.dim = state.options.dim;
    cells.metric = state.options.metric;
    cells.steps = steps;
    cells.centroids = state.centroid_view();
    cells.code = state.codec->view();
    cells.cells = state.views;
    if (state.rerank_codec) {
        cells.rerank = state.rerank_codec->view();
        cells.rerank_rows = state.rerank_rows;
        cells.refines = state.can_refine();
    }
    state.held_changes.reset();  // until all is copied
    if (state.held) {
        state.held->update(cells);
    } else {
        state.held = state.device->hold(cells, state.device_options);
    }
    state.held_changes = state.changes;
    return *state.held;
}

DeviceSearch device_search(const CellIndex::State& state, const SearchOptions& options,
                           const SearchSettings& settings) {
    DeviceSearch search;
    search.k = settings.k;
    search.probes = settings.probes;
    search.depth = settings.reranked ? settings.depth : 0;
    search.refine = settings.refine;
    search.margin = options.margin;
    if (!state.centroids.empty()) search.reach = state.reach_of(settings.cutoff);
    search.filter = options.filter;
    search.threads = options.threads;
    return search;
}

void add_counts(const SearchStats& counted, SearchStats& stats) {
    stats.scanned += counted.scanned;
    stats.reranked += counted.reranked;
    stats.plan = counted.plan;
}

}  // namespace

void search_on_device(const CellIndex::State& state, const Vectors& queries,
                      const SearchOptions& options, const SearchSettings& settings,
                      SearchResult& result) {
    const DeviceCells& held = held_cells(state);
    report(options.progress, "search", 0, static_cast<double>(queries.rows));
    DeviceSearch search = device_search(state, options, settings);
    search.k = options.k;  // the rows of the result
    std::vector<uint64_t> counts(queries.rows);
    DeviceBatch batch;
    batch.queries = queries;
    batch.scores = result.scores.data();
    batch.ids = result.ids.data();
    batch.counts = counts.data();
    add_counts(held.search(batch, search), result.stats);
    result.counts.assign(counts.begin(), counts.end());
    report(options.progress, "search", static_cast<double>(queries.rows),
           static_cast<double>(queries.rows));
}

void range_search_on_device(const CellIndex::State& state, const Vectors& queries,
                            RangeLimits limits, const SearchOptions& options,
                            const SearchSettings& settings, RangeResult& result) {
    const DeviceCells& held = held_cells(state);
    report(options.progress, "search", 0, static_cast<double>(queries.rows));
    std::vector<std::vector<Candidate>> hits(queries.rows);
    add_counts(held.range_search(queries, limits.key, limits.scan,
                                 device_search(state, options, settings), hits),
               result.stats);
    for (size_t q = 0; q < queries.rows; ++q) {
        for (const Candidate& candidate : hits[q]) {
            result.scores.push_back(reported_score(state.options.metric, candidate.key));
            result.ids.push_back(candidate.id);
        }
        result.offsets[q + 1] = result.ids.size();
    }
    report(options.progress, "search", static_cast<double>(queries.rows),
           static_cast<double>(queries.rows));
}

void CellIndex::to(std::string_view device, const DeviceOptions& options) {
    const Device* const found = find_device(device);
    const std::unique_lock lock(state_->mutex);
    state_->held.reset();
    state_->device = found;
    state_->device_options = options;
    state_->backend = found == nullptr ? &cpu_backend() : &found->backend();
}

std::string CellIndex::device() const {
    const std::shared_lock lock(state_->mutex);
    return state_->device == nullptr ? "cpu" : state_->device->name();
}

SearchStats CellIndex::search_into(const DeviceBatch& batch, const SearchOptions& options) const {
    check(options.k >= 1, StatusCode::InvalidArgument,
          "k = 0 must be at least 1: ask for one neighbour or more");
    const size_t default_probes = this->default_probes();
    const std::shared_lock lock(state_->mutex);
    const State& state = *state_;
    check(state.device != nullptr, StatusCode::NoDevice,
          "arrays on a device need an index there, and this one is on cpu: call to(\"cuda:0\")");
    const SearchSettings settings = resolve_search(state, options, default_probes);
    check_dim(batch.queries, state.options.dim, "queries");
    DeviceSearch search = device_search(state, options, settings);
    search.k = options.k;
    SearchStats stats = held_cells(state).search(batch, search);
    stats.probes = settings.probes;
    stats.rerank = search.depth;
    return stats;
}

}  // namespace nearcell
