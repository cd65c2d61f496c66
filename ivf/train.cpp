// CellIndex::train and set_trained: transforms first, then centroids, then the codec of what is
// left.
#include <algorithm>
#include <cmath>

#include <nearcell/core/random.h>
#include <nearcell/ivf/index_state.h>
#include <nearcell/ivf/spec.h>
#include <nearcell/quantize/centroid_order.h>
#include <nearcell/quantize/kmeans.h>

namespace nearcell {
namespace {

constexpr size_t kCodecRows = 65536;  // 256 for each of the 256 centroids of an 8-bit codebook
constexpr size_t kMeanRows = 65536;
// Cells from which on their k-means is hierarchical: it takes less time, and its cells are more
// equally full, so that about as few vectors are visited for a recall (bench/results/ablations.txt,
// part 6). KMeansMethod::Auto, which cares for the objective alone, begins later.
constexpr size_t kHierarchicalFrom = 1024;

// At most `count` of the rows, in their order, drawn by seed.
std::vector<size_t> sample_rows(size_t rows, size_t count, uint64_t seed) {
    Random random(seed);
    return sorted_sample(rows, std::min(rows, count), random);
}

// Rows to train on, owned or the caller's own.
struct TrainingRows {
    AlignedBuffer<float> values;
    MatrixView<const float> view;
};

TrainingRows take_rows(MatrixView<const float> x, size_t count, uint64_t seed, int threads) {
    TrainingRows rows;
    rows.view = x;
    if (x.rows <= count) return rows;
    rows.values.resize_for_overwrite(count * x.cols);
    const MatrixView<float> out(rows.values.mutable_data(), count, x.cols);
    const std::vector<size_t> sample = sample_rows(x.rows, count, seed);
    gather_rows(x, sample.data(), out, threads);
    rows.view = out;
    return rows;
}

std::vector<float> mean_of(MatrixView<const float> x) {
    std::vector<double> sum(x.cols, 0.0);
    for (size_t i = 0; i < x.rows; ++i) {
        for (size_t j = 0; j < x.cols; ++j)
            sum[j] += static_cast<double>(x.row(i)[j]);
    }
    std::vector<float> mean(x.cols);
    for (size_t j = 0; j < x.cols; ++j) {
        mean[j] = static_cast<float>(sum[j] / static_cast<double>(std::max<size_t>(1, x.rows)));
    }
    return mean;
}

// The centroids in centroid_order.
std::vector<float> in_order(const std::vector<float>& centroids, size_t dim, int threads) {
    const MatrixView<const float> rows(centroids.data(), centroids.size() / dim, dim);
    std::vector<float> ordered(centroids.size());
    gather_rows(rows, centroid_order(rows, threads).data(), {ordered.data(), rows.rows, dim},
                threads);
    return ordered;
}

// As training makes them for Cosine: among directions, a longer one would draw more than its own.
void check_lengths(MatrixView<const float> centroids) {
    constexpr double kRounding = 1e-3;  // of half floats
    for (size_t i = 0; i < centroids.rows; ++i) {
        double squares = 0;
        for (size_t j = 0; j < centroids.cols; ++j) {
            const auto value = static_cast<double>(centroids.row(i)[j]);
            squares += value * value;
        }
        const double length = std::sqrt(squares);
        check(std::fabs(length - 1) <= kRounding, StatusCode::InvalidArgument, "centroids[", i,
              "] has length ", length,
              ", but must have length 1 for cosine: divide every row by its length");
    }
}

// Centroids for inner products have length 1, whatever the rows' length. Of short rows the
// residuals would be mostly centroid: all are shortened alike, so that the residuals' squares are
// least; the order in which cells are near to a vector stays. None is made longer: where rows are
// in clusters, RaBitQ then found fewer of the nearest.
std::vector<float> shortened_for_residuals(MatrixView<const float> x,
                                           const std::vector<uint32_t>& labels,
                                           std::vector<float> centroids) {
    double products = 0, squares = 0;
    for (size_t i = 0; i < x.rows; ++i) {
        const float* const centroid = &centroids[labels[i] * x.cols];
        for (size_t j = 0; j < x.cols; ++j) {
            const double c = static_cast<double>(centroid[j]);
            products += static_cast<double>(x.row(i)[j]) * c;
            squares += c * c;
        }
    }
    const double factor = products / squares;
    constexpr double kLeast = 0x1p-50;  // keys of queries as short do not vanish yet
    if (!(factor >= kLeast && factor < 1)) return centroids;
    for (float& value : centroids)
        value *= static_cast<float>(factor);
    return centroids;
}

}  // namespace

void CellIndex::State::adopt(State& fresh) noexcept {
    centroids = std::move(fresh.centroids);
    coarse = std::move(fresh.coarse);  // its view is of the same memory still
    centroid_squares = std::move(fresh.centroid_squares);
    centroid_length = fresh.centroid_length;
    center = std::move(fresh.center);
    codec = std::move(fresh.codec);
    trained = true;
    refresh_views();
}

TrainReport CellIndex::train(const Vectors& x, const CallOptions& call) {
    const std::unique_lock lock(state_->mutex);
    const CellIndexOptions& options = state_->options;
    check(state_->size == 0, StatusCode::InvalidArgument, "train() on an index that holds ",
          state_->size, " vectors would make them unreadable: train before add, or a new index");
    check_dim(x, options.dim, "x");
    check(x.rows >= 1, StatusCode::InvalidArgument, "x has 0 rows; training needs at least 1");
    check(x.rows >= options.cells, StatusCode::InvalidArgument, "x has ", x.rows,
          " rows, fewer than the ", options.cells, " cells of ", format_spec(options),
          ": pass at least as many rows (better 40 a cell), or choose fewer cells");
    check_finite(x, "x", call.threads);

    // Everything is built beside the index and put in place at the end.
    auto fresh = std::make_unique<State>(options);
    fresh->backend = state_->backend;
    const Backend& backend = *fresh->backend;
    TrainReport report_out;
    report_out.rows_given = x.rows;

    size_t wanted =
        std::max(kCodecRows, options.cells > 1 ? options.max_points_per_cell == 0
                                                     ? x.rows
                                                     : options.max_points_per_cell * options.cells
                                               : kMeanRows);
    for (const Transform& transform : fresh->transforms) {
        wanted = std::max(wanted, transform.training_rows());
    }
    const std::vector<size_t> sample = sample_rows(x.rows, wanted, options.seed);
    AlignedBuffer<float> values;
    MatrixView<const float> rows;
    if (sample.size() == x.rows && x.type == ElementType::Float32 &&
        options.metric != Metric::Cosine) {
        rows = MatrixView<const float>(static_cast<const float*>(x.data), x.rows, x.cols, x.stride);
    } else {
        values.resize_for_overwrite(sample.size() * options.dim);
        const MatrixView<float> copy(values.mutable_data(), sample.size(), options.dim);
        gather_rows(x, sample.data(), copy, call.threads);
        if (options.metric == Metric::Cosine) normalize_rows(copy, call.threads);
        rows = copy;
    }

    CodecTraining codec_training;
    codec_training.seed = options.seed;
    codec_training.threads = call.threads;
    codec_training.progress = call.progress;
    if (fresh->rerank_codec) {
        fresh->rerank_codec->train(take_rows(rows, kCodecRows, options.seed + 1, call.threads).view,
                                   codec_training, backend);
    }

    const size_t code_bits = options.codec.kind == CodeKind::Product4 ? 4 : 8;
    for (Transform& transform : fresh->transforms) {
        if (!transform.is_trained()) {
            transform.train(
                take_rows(rows, transform.training_rows(), options.seed + 2, call.threads).view,
                code_bits, backend, call.threads, call.progress);
        }
        if (transform.is_normalization() && &transform != fresh->transforms.data())
            transform.learn_length(rows);
        AlignedBuffer<float> next;
        next.resize_for_overwrite(rows.rows * transform.out_dim());
        const MatrixView<float> out(next.mutable_data(), rows.rows, transform.out_dim());
        transform.apply(rows, out, backend, call.threads);
        values.swap(next);
        rows = out;
    }

    if (options.cells > 1) {
        KMeansOptions kmeans;
        kmeans.clusters = options.cells;
        kmeans.metric = fresh->coarse_metric();
        kmeans.iterations = options.cell_iterations;
        if (options.cells >= kHierarchicalFrom) kmeans.method = KMeansMethod::Hierarchical;
        kmeans.seed = options.seed;
        kmeans.max_points_per_cluster = options.max_points_per_cell;
        kmeans.threads = call.threads;
        kmeans.progress = call.progress;
        KMeansResult result = train_kmeans(rows, kmeans, backend);
        report_out.rows_used_for_cells = result.points_used;
        report_out.empty_splits = result.empty_splits;
        if (!result.objective.empty()) report_out.cells_objective = result.objective.back();
        fresh->set_centroids(in_order(result.centroids, rows.cols, call.threads));
    } else if (options.residual) {
        fresh->set_centroids(mean_of(rows));
    }

    TrainingRows codec_rows = take_rows(rows, kCodecRows, options.seed + 3, call.threads);
    report_out.rows_used_for_codec = codec_rows.view.rows;
    if (options.residual) {
        std::vector<uint32_t> labels(codec_rows.view.rows);
        backend.assign(codec_rows.view, fresh->centroid_view(), fresh->coarse_metric(),
                       labels.data(), nullptr, call.threads);
        if (options.cells > 1 && options.metric == Metric::InnerProduct) {
            fresh->set_centroids(
                shortened_for_residuals(codec_rows.view, labels, fresh->centroids));
        }
        AlignedBuffer<float> residuals;
        residuals.resize_for_overwrite(labels.size() * fresh->coded_dim);
        const MatrixView<float> out(residuals.mutable_data(), labels.size(), fresh->coded_dim);
        fresh->subtract_centroids(codec_rows.view, labels.data(), out, call.threads);
        codec_rows.values.swap(residuals);
        codec_rows.view = out;
    }
    fresh->codec->train(codec_rows.view, codec_training, backend);

    fresh->set_trained();

    state_->transforms = std::move(fresh->transforms);
    state_->rerank_codec = std::move(fresh->rerank_codec);
    state_->adopt(*fresh);
    return report_out;
}

void CellIndex::set_trained(MatrixView<const float> centroids,
                            std::span<const float> codec_parameters) {
    const std::unique_lock lock(state_->mutex);
    State& state = *state_;
    check(state.size == 0, StatusCode::InvalidArgument, "set_trained() on an index that holds ",
          state.size, " vectors would make them unreadable: use a new index");
    for (const Transform& transform : state.transforms) {
        check(transform.is_trained(), StatusCode::Unsupported,
              "set_trained() cannot train the transforms of ", format_spec(state.options),
              ": use train()");
    }
    check(!state.rerank_codec || state.rerank_codec->is_trained(), StatusCode::Unsupported,
          "set_trained() cannot train the re-rank store of ", format_spec(state.options),
          ": use train()");
    const size_t expected =
        state.options.cells > 1 || state.options.residual ? state.options.cells : 0;
    check(centroids.rows == expected && (expected == 0 || centroids.cols == state.coded_dim),
          StatusCode::InvalidArgument, "centroids is ", centroids.rows, " x ", centroids.cols,
          "; this index needs ", expected, " x ", state.coded_dim);
    check_dim(centroids, centroids.cols, "centroids");
    check_finite(centroids, "centroids", 1);
    if (state.options.metric == Metric::Cosine && state.options.cells > 1) check_lengths(centroids);
    State fresh(state.options, true);
    fresh.backend = state.backend;
    fresh.codec->set_parameters(codec_parameters);
    std::vector<float> values;
    for (size_t i = 0; i < centroids.rows; ++i) {
        values.insert(values.end(), centroids.row(i), centroids.row(i) + centroids.cols);
    }
    fresh.set_centroids(std::move(values));
    fresh.set_trained();
    state.adopt(fresh);
}

}  // namespace nearcell
