#include "picture_index.h"

#include <algorithm>

#include "files.h"
#include "interrupt.h"
#include "stopwatch.h"

namespace nearcell::cli {
namespace {

// How many rows cells and codes need at least to be trained.
size_t rows_to_train(const CellIndexOptions& options) {
    const size_t codes = options.codec.kind == CodeKind::Product8   ? 256
                         : options.codec.kind == CodeKind::Product4 ? 16
                                                                    : 1;
    return std::max(options.cells, codes);
}

}  // namespace

void PictureIndexOptions::check(size_t pictures, size_t dim) const {
    if (components) {
        const size_t most = std::min(dim, std::max<size_t>(pictures, 1) - 1);
        nearcell::check(*components >= 1 && *components <= most, StatusCode::InvalidArgument,
                        "--pca ", *components, " must be 1 to ", most, ": ", pictures,
                        " pictures differ in at most one direction less, and features have "
                        "dimension ",
                        dim, "; ask for fewer components, or give more pictures");
    }
    const IndexOptions wanted{components.value_or(dim), metric_from_option(metric), seed};
    const size_t least = rows_to_train(parse_spec(spec, wanted));
    nearcell::check(pictures >= least, StatusCode::InvalidArgument, "-k ", spec, " needs at least ",
                    least, " pictures to be trained, and there are ", pictures,
                    "; give more pictures, or a spec with fewer cells or smaller codes, such as "
                    "Flat");
}

PictureIndex::PictureIndex(MatrixView<const float> features, const PictureIndexOptions& options,
                           Session& session) {
    options.check(features.rows, features.cols);
    const CallOptions call{session.threads(), session.progress()};
    Stopwatch watch;
    std::vector<float> memory;
    if (options.components) {
        PcaOptions wanted;
        wanted.components = *options.components;
        pca_ = Pca::fit(features, wanted, cpu_backend(), session.threads(), session.progress());
    }
    const MatrixView<const float> rows = projected(features, memory, session.threads());
    pca_seconds_ = watch.lap();
    check_interrupted();
    index_ =
        make_index(options.spec, {rows.cols, metric_from_option(options.metric), options.seed});
    options.device.move(*index_);
    index_->train(rows, call);
    index_->add(rows, {}, call);
    build_seconds_ = watch.lap();
}

MatrixView<const float> PictureIndex::projected(MatrixView<const float> features,
                                                std::vector<float>& memory, int threads) const {
    if (!pca_) return features;
    memory.resize(features.rows * pca_->components());
    const MatrixView<float> out(memory.data(), features.rows, pca_->components());
    pca_->transform(features, out, cpu_backend(), threads);
    return out;
}

std::vector<std::vector<FoundNeighbor>> PictureIndex::search(MatrixView<const float> queries,
                                                             const std::vector<size_t>& rows,
                                                             size_t k, size_t probes,
                                                             Session& session) const {
    std::vector<float> memory;
    SearchOptions how;
    how.k = rows.empty() ? k : k + 1;
    how.probes = probes;
    how.threads = session.threads();
    how.progress = session.progress();
    const SearchResult result = index_->search(projected(queries, memory, session.threads()), how);
    std::vector<std::vector<FoundNeighbor>> found(queries.rows);
    for (size_t q = 0; q < queries.rows; ++q) {
        for (size_t i = 0; i < result.counts[q] && found[q].size() < k; ++i) {
            const auto row = static_cast<size_t>(result.ids[q * result.k + i]);
            if (!rows.empty() && row == rows[q]) continue;
            found[q].push_back({row, result.scores[q * result.k + i]});
        }
    }
    return found;
}

}  // namespace nearcell::cli
