#include "picture_features.h"

#include <utility>

namespace nearcell::cli {

PictureFeatures extract_features(const Extractor& extractor, std::vector<std::string> pictures,
                                 bool strict, Session& session) {
    PictureFeatures found;
    found.listed = std::move(pictures);
    found.dim = extractor.dim();
    ExtractOptions how;
    how.strict = strict;
    how.threads = session.threads();
    how.progress = session.progress();
    const auto keep = [&](std::span<const size_t> numbers, MatrixView<const float> features) {
        found.rows.insert(found.rows.end(), numbers.begin(), numbers.end());
        found.values.insert(found.values.end(), features.data,
                            features.data + features.rows * features.cols);
    };
    found.values.reserve(found.listed.size() * found.dim);
    const std::vector<SkippedPicture> skipped = extractor.extract(found.listed, how, keep);
    found.skipped = report_skipped(found.listed, skipped, session);
    return found;
}

}  // namespace nearcell::cli
