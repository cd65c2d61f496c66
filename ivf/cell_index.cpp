#include <nearcell/ivf/cell_index.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include <nearcell/core/parallel.h>
#include <nearcell/ivf/index_state.h>
#include <nearcell/ivf/spec.h>

namespace nearcell {
namespace {

bool learns_nothing(CodeKind kind) {
    return kind == CodeKind::Float32 || kind == CodeKind::Float16 || kind == CodeKind::BFloat16;
}

constexpr size_t kRowsPerTask = 1024;

}  // namespace

CellIndex::State::State(CellIndexOptions options_, bool saved)
    : options(std::move(options_)), backend(&cpu_backend()) {
    check_options(options);
    size_t d = options.dim;
    for (size_t i = 0; i < options.transforms.size(); ++i) {
        transforms.emplace_back(options.transforms[i], d, options.seed + i, saved);
        d = transforms.back().out_dim();
    }
    coded_dim = d;
    codec = make_scan_codec();
    if (options.rerank) {
        options.rerank->factors = false;  // no scan reads it
        rerank_codec = make_codec(*options.rerank, options.dim);
    }
    cells.resize(options.cells);
    trained = options.cells == 1 && !options.residual && learns_nothing(options.codec.kind) &&
              (!options.rerank || learns_nothing(options.rerank->kind)) &&
              std::all_of(transforms.begin(), transforms.end(),
                          [](const Transform& t) { return t.is_trained(); });
    if (trained) set_trained();
    refresh_views();
}

CellShape CellIndex::State::shape() const {
    return {codec->code_words(), rerank_codec ? rerank_codec->code_words() : 0};
}

Metric CellIndex::State::coarse_metric() const {
    return is_similarity(options.metric) ? Metric::InnerProduct : Metric::L2;
}

MatrixView<const float> CellIndex::State::centroid_view() const {
    return {centroids.data(), centroids.size() / coded_dim, coded_dim};
}

void CellIndex::State::set_centroids(std::vector<float> values) {
    centroids = std::move(values);
    coarse = CoarseRows(centroid_view(), coarse_metric());
    centroid_length = 1;
    centroid_squares.clear();
    if (is_similarity(options.metric)) {
        for (size_t c = 0; c < coarse.rows().rows; ++c) {
            const float* row = coarse.rows().row(c);
            centroid_squares.push_back(0.0f -
                                       backend->key(row, row, coded_dim, Metric::InnerProduct));
        }
    }
    if (is_similarity(options.metric) || centroids.empty()) return;
    double sum = 0;
    for (size_t c = 0; c < coarse.rows().rows; ++c)
        sum += static_cast<double>(coarse.squares()[c]);
    centroid_length = static_cast<float>(std::sqrt(sum / static_cast<double>(coarse.rows().rows)));
}

std::unique_ptr<Codec> CellIndex::State::make_scan_codec() const {
    CodecOptions scanned = options.codec;
    scanned.factors = keeps_factors();
    return make_codec(scanned, coded_dim);
}

void CellIndex::State::set_trained() {
    trained = true;
    center = coarse.center();
    const bool bits = options.codec.kind == CodeKind::Bits;
    const bool wanted = bits || (keeps_factors() && !options.residual);
    if (!wanted || !center.empty()) return;
    // Any point will do; the nearer to the vectors, the tighter are the bounds.
    if (!centroids.empty()) center = CoarseRows(centroid_view(), Metric::L2).center();
    if (bits || !centroids.empty()) return;
    const CodeView view = codec->view();
    center.resize(coded_dim);
    for (size_t j = 0; j < coded_dim; ++j)
        center[j] = view.offset[j] + 127.5f * view.step[j];
}

bool CellIndex::State::keeps_factors() const {
    return options.codec.kind == CodeKind::RangeInt8 && options.metric != Metric::L1;
}

bool CellIndex::State::scans_by_integers() const {
    if (options.codec.kind != CodeKind::Product4) return keeps_factors();
    // Distances to residuals would need tables for each cell.
    const bool tables =
        is_similarity(options.metric) || (options.metric == Metric::L2 && !options.residual);
    return tables && options.codec.subquantizers <= 8 * kMostLookupLines;
}

bool CellIndex::State::can_refine() const {
    return options.codec.kind == CodeKind::Bits && options.codec.bits == 1 && rerank_codec &&
           coded_dim <= 32 * kMostLookupLines && bounds_hold();
}

bool CellIndex::State::bounds_hold() const {
    const bool similarity = is_similarity(options.metric);
    return std::all_of(transforms.begin(), transforms.end(), [&](const Transform& transform) {
        return transform.keeps_keys(similarity);
    });
}

void CellIndex::State::refresh_views() {
    ++changes;
    views.resize(cells.size());
    rerank_rows.resize(cells.size());
    for (size_t c = 0; c < cells.size(); ++c) {
        views[c].blocks = reinterpret_cast<const uint8_t*>(cells[c].blocks());
        views[c].ids = cells[c].ids();
        views[c].size = cells[c].size();
        views[c].version = cells[c].version();
        views[c].centroid =
            options.residual && !centroids.empty() ? &centroids[c * coded_dim] : nullptr;
        rerank_rows[c] = cells[c].rerank_rows();
    }
    if (std::none_of(cells.begin(), cells.end(), [](const Cell& cell) { return cell.is_view(); }))
        file.reset();
}

void CellIndex::State::require_cutoff(float cutoff) const {
    const bool distances = options.metric == Metric::L2 || options.metric == Metric::Cosine;
    check(distances || cutoff == std::numeric_limits<float>::infinity(), StatusCode::Unsupported,
          "cutoff = ", cutoff, " needs distances, which metric ", metric_name(options.metric),
          " has none of: leave it out and choose probes");
}

float CellIndex::State::reach_of(float cutoff) const {
    return std::isfinite(cutoff) ? cutoff * centroid_length * std::sqrt(centroid_length) : cutoff;
}

void CellIndex::State::require_trained(const char* operation) const {
    check(trained, StatusCode::NotTrained, operation, " needs a trained index, and ",
          format_spec(options), " is not: call train() with representative vectors first");
}

void CellIndex::State::prepare(const Vectors& x, size_t first, size_t count, int threads,
                               PreparedRows& rows) const {
    const bool as_given = x.type == ElementType::Float32 && options.metric != Metric::Cosine;
    if (as_given) {
        rows.original = MatrixView<const float>(static_cast<const float*>(x.row(first)), count,
                                                x.cols, x.stride);
    } else {
        rows.original_values.resize_for_overwrite(count * options.dim);
        const MatrixView<float> values(rows.original_values.mutable_data(), count, options.dim);
        parallel_for((count + kRowsPerTask - 1) / kRowsPerTask, threads, [&](size_t task, int) {
            const size_t begin = task * kRowsPerTask;
            read_rows(x, first + begin, values.slice(begin, std::min(kRowsPerTask, count - begin)));
        });
        if (options.metric == Metric::Cosine) normalize_rows(values, threads);
        rows.original = values;
    }
    rows.coded = rows.original;
    for (const Transform& transform : transforms) {
        rows.scratch.resize_for_overwrite(count * transform.out_dim());
        const MatrixView<float> out(rows.scratch.mutable_data(), count, transform.out_dim());
        transform.apply(rows.coded, out, *backend, threads);
        rows.coded_values.swap(rows.scratch);
        rows.coded = out;
    }
}

void CellIndex::State::subtract_centroids(MatrixView<const float> x, const uint32_t* labels,
                                          MatrixView<float> residuals, int threads) const {
    parallel_for((x.rows + kRowsPerTask - 1) / kRowsPerTask, threads, [&](size_t task, int) {
        for (size_t i = task * kRowsPerTask; i < std::min(x.rows, (task + 1) * kRowsPerTask); ++i) {
            const float* const row = x.row(i);
            const float* const centroid = centroids.data() + labels[i] * coded_dim;
            float* const out = residuals.row(i);
            for (size_t j = 0; j < coded_dim; ++j)
                out[j] = row[j] - centroid[j];
        }
    });
}

void CellIndex::State::check_distinct_ids() const {
    if (map.size() == size) return;  // only a file can have brought one twice
    for (size_t c = 0; c < cells.size(); ++c) {
        for (size_t s = 0; s < cells[c].size(); ++s) {
            const int64_t id = cells[c].ids()[s];
            const Location last = *map.find(id);
            check(last.cell == c && last.slot == s, StatusCode::Corrupt,
                  "section ids holds the id ", id, " twice, at place ", s, " of cell ", c,
                  " and at place ", last.slot, " of cell ", last.cell,
                  "; ids must be distinct: get the file again, or build the index again");
        }
    }
}

const IdMap& CellIndex::State::id_map() const {
    const std::lock_guard<std::mutex> lock(map_mutex);
    if (!map_built) {
        map = IdMap();
        map.reserve(size);
        for (size_t c = 0; c < cells.size(); ++c) {
            for (size_t s = 0; s < cells[c].size(); ++s) {
                map.set(cells[c].ids()[s], {static_cast<uint32_t>(c), static_cast<uint32_t>(s)});
            }
        }
        check_distinct_ids();
        map_built = true;
    }
    return map;
}

CellIndex::CellIndex(CellIndexOptions options)
    : state_(std::make_unique<State>(std::move(options))) {}
CellIndex::CellIndex(std::unique_ptr<State> state) : state_(std::move(state)) {}
CellIndex::~CellIndex() = default;

const CellIndexOptions& CellIndex::options() const { return state_->options; }

bool CellIndex::is_trained() const {
    const std::shared_lock lock(state_->mutex);
    return state_->trained;
}

size_t CellIndex::size() const {
    const std::shared_lock lock(state_->mutex);
    return state_->size;
}

bool CellIndex::contains(int64_t id) const {
    const std::shared_lock lock(state_->mutex);
    return state_->id_map().find(id) != nullptr;
}

std::vector<int64_t> CellIndex::ids() const {
    const std::shared_lock lock(state_->mutex);
    std::vector<int64_t> all;
    all.reserve(state_->size);
    for (const Cell& cell : state_->cells)
        all.insert(all.end(), cell.ids(), cell.ids() + cell.size());
    std::sort(all.begin(), all.end());
    return all;
}

// Unless tuned: about sqrt(cells) probes, and a few times k candidates.
size_t CellIndex::default_probes() const {
    const std::shared_lock lock(state_->mutex);
    if (state_->default_probes != 0) return state_->default_probes;
    return static_cast<size_t>(std::ceil(std::sqrt(static_cast<double>(state_->options.cells))));
}

size_t CellIndex::default_rerank() const {
    const std::shared_lock lock(state_->mutex);
    return state_->default_rerank;
}

float CellIndex::default_cutoff() const {
    const std::shared_lock lock(state_->mutex);
    return state_->default_cutoff;
}

void CellIndex::set_defaults(size_t probes, size_t rerank, float cutoff) {
    const std::unique_lock lock(state_->mutex);
    check(cutoff > 0, StatusCode::InvalidArgument, "cutoff = ", cutoff,
          " must be above 0: infinity is none");
    state_->require_cutoff(cutoff);
    check(probes <= state_->options.cells, StatusCode::InvalidArgument, "probes = ", probes,
          " is more than the ", state_->options.cells,
          " cells of the index: pass at most that many");
    check(rerank == 0 || state_->options.rerank.has_value(), StatusCode::InvalidArgument,
          "rerank = ", rerank,
          ", but the index keeps no vectors to re-rank with: leave it 0, or build it with RFlat or "
          "Refine(...)");
    state_->default_probes = probes;
    state_->default_rerank = rerank;
    state_->default_cutoff = cutoff;
}

bool CellIndex::reranks_by_bound() const {
    const std::shared_lock lock(state_->mutex);
    return state_->can_refine();
}

std::string CellIndex::spec() const { return format_spec(options()); }

std::vector<float> CellIndex::centroids() const {
    const std::shared_lock lock(state_->mutex);
    return state_->centroids;
}

std::vector<float> CellIndex::codec_parameters() const {
    const std::shared_lock lock(state_->mutex);
    return state_->codec->parameters();
}

IndexStats CellIndex::stats() const {
    IndexStats stats;
    stats.default_probes = default_probes();
    stats.default_rerank = default_rerank();
    stats.default_cutoff = default_cutoff();
    const std::shared_lock lock(state_->mutex);
    const State& state = *state_;
    stats.spec = spec();
    stats.size = state.size;
    stats.cells = state.options.cells;
    double squares = 0;
    for (const Cell& cell : state.cells) {
        stats.largest_cell = std::max(stats.largest_cell, cell.size());
        stats.empty_cells += cell.size() == 0;
        squares += static_cast<double>(cell.size()) * static_cast<double>(cell.size());
        stats.memory_bytes += cell.memory_bytes();
    }
    const double n = static_cast<double>(state.size);
    if (state.size != 0) stats.imbalance = squares * static_cast<double>(stats.cells) / (n * n);
    stats.code_bytes = state.shape().code_words * 4;
    stats.rerank_bytes = state.shape().rerank_words * 4;
    stats.bytes_per_vector =
        static_cast<double>(stats.code_bytes + stats.rerank_bytes + sizeof(int64_t));
    stats.memory_bytes += 2 * state.centroids.size() * sizeof(float);
    if (state.file && !state.file->is_mapped()) stats.memory_bytes += state.file->file_bytes();
    stats.backend = state.backend->describe();
    {
        const std::lock_guard map_lock(state.map_mutex);
        stats.memory_bytes += state.map.memory_bytes();
    }
    const std::lock_guard held_lock(state.held_mutex);
    if (state.held) stats.device_bytes = state.held->memory_bytes();
    return stats;
}

}  // namespace nearcell
