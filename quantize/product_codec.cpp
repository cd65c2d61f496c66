#include <nearcell/quantize/product_codec.h>

#include <algorithm>
#include <utility>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>
#include <nearcell/quantize/kmeans.h>
#include <nearcell/quantize/parameter_checks.h>
#include <nearcell/quantize/row_blocks.h>

namespace nearcell {
namespace {

constexpr size_t kRowsPerCentroid = 256;  // training rows
constexpr size_t kLeastRows = 192;        // a task of encoding: less would not fill a product
constexpr size_t kMostRows = 3072;

// Rows of the sample; empty when all rows are used.
std::vector<size_t> sampled_rows(size_t rows, size_t limit, uint64_t seed) {
    if (rows <= limit) return {};
    Random random(seed);
    return sorted_sample(rows, limit, random);
}

size_t rows_a_task(size_t rows, int threads, const Backend& backend) {
    const size_t share = rows / (4 * static_cast<size_t>(resolve_threads(threads)));
    return std::max(std::clamp(share, kLeastRows, kMostRows), backend.least_rows());
}

void put_code(CodeKind kind, size_t m, uint32_t centroid, uint32_t* code) {
    const size_t bits = kind == CodeKind::Product8 ? 8 : 4;
    const size_t per_word = 32 / bits;
    code[m / per_word] |= centroid << (bits * (m % per_word));
}

}  // namespace

ProductCodec::ProductCodec(CodecOptions options, size_t dim) : Codec(options, dim) {
    const size_t count = options.subquantizers;
    sub_begin_.assign(count + 1, 0);
    for (size_t m = 0; m < count; ++m) {
        const size_t wide = m < dim % count ? 1 : 0;
        sub_begin_[m + 1] = static_cast<uint32_t>(sub_begin_[m] + dim / count + wide);
    }
}

void ProductCodec::train(MatrixView<const float> x, const CodecTraining& training,
                         const Backend& backend) {
    check(x.rows >= centroids(), StatusCode::InvalidArgument, "product codes of ",
          centroids() == 256 ? 8 : 4, " bits cannot be trained on ", x.rows,
          " rows: pass at least ", centroids());
    const std::vector<size_t> sample =
        sampled_rows(x.rows, kRowsPerCentroid * centroids(), training.seed);

    // As many codebooks at a time as there are threads, or one by all of them.
    const size_t count = options_.subquantizers;
    const size_t team = static_cast<size_t>(resolve_threads(training.threads));
    const size_t wave = team <= count ? team : 1;
    std::vector<float> codebooks(centroids() * dim_);
    for (size_t first = 0; first < count; first += wave) {
        report(training.progress, "product codebooks", static_cast<double>(first),
               static_cast<double>(count));
        parallel_for(std::min(wave, count - first), training.threads, [&](size_t i, int) {
            train_codebook(first + i, x, sample, training, backend, codebooks.data());
        });
    }
    codebooks_ = std::move(codebooks);
}

void ProductCodec::train_codebook(size_t m, MatrixView<const float> x,
                                  const std::vector<size_t>& sample, const CodecTraining& training,
                                  const Backend& backend, float* codebooks) const {
    const size_t rows = sample.empty() ? x.rows : sample.size();
    std::vector<float> part(rows * width(m));
    for (size_t i = 0; i < rows; ++i) {
        const float* row = x.row(sample.empty() ? i : sample[i]);
        std::copy_n(row + sub_begin_[m], width(m), part.data() + i * width(m));
    }
    KMeansOptions options;
    options.clusters = centroids();
    options.iterations = training.iterations;
    options.max_points_per_cluster = 0;  // sampled already, once for all subspaces
    options.seed = training.seed + m;
    options.threads = training.threads;
    const MatrixView<const float> points(part.data(), rows, width(m));
    const KMeansResult result = train_kmeans(points, options, backend);
    std::copy(result.centroids.begin(), result.centroids.end(),
              codebooks + centroids() * sub_begin_[m]);
}

void ProductCodec::encode_on_host(MatrixView<const float> x, uint32_t* codes, int threads,
                                  const Backend& backend) const {
    const size_t block = rows_a_task(x.rows, threads, backend);
    for_row_blocks(x.rows, block, threads, [&](size_t first, size_t count) {
        encode_rows(x.slice(first, count), codes + first * code_words(), backend);
    });
}

void ProductCodec::encode_rows(MatrixView<const float> x, uint32_t* codes,
                               const Backend& backend) const {
    const size_t words = code_words();
    const std::shared_ptr<const void> kept = backend.keep(x);
    std::vector<uint32_t> labels(x.rows);
    std::fill(codes, codes + x.rows * words, 0u);
    for (size_t m = 0; m < options_.subquantizers; ++m) {
        const MatrixView<const float> part(x.data + sub_begin_[m], x.rows, width(m), x.stride);
        const MatrixView<const float> codebook(codebooks_.data() + centroids() * sub_begin_[m],
                                               centroids(), width(m));
        backend.assign(part, codebook, Metric::L2, labels.data(), nullptr, 1);
        for (size_t i = 0; i < x.rows; ++i)
            put_code(options_.kind, m, labels[i], codes + i * words);
    }
}

CodeView ProductCodec::view() const {
    const size_t per_word = options_.kind == CodeKind::Product8 ? 4 : 8;
    CodeView view;
    view.kind = options_.kind;
    view.dim = dim_;
    view.words = (options_.subquantizers + per_word - 1) / per_word;
    view.subquantizers = options_.subquantizers;
    view.sub_begin = sub_begin_.data();
    if (dim_ % options_.subquantizers == 0) view.sub_width = dim_ / options_.subquantizers;
    view.codebooks = codebooks_.data();
    return view;
}

void ProductCodec::set_parameters(std::span<const float> parameters) {
    check_parameters(parameters, centroids() * dim_, "a product codec");
    codebooks_.assign(parameters.begin(), parameters.end());
}

}  // namespace nearcell
