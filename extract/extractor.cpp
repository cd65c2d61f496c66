#include <nearcell/extract/extractor.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include <nearcell/core/error.h>
#include <nearcell/core/parallel.h>
#include <nearcell/extract/image.h>

namespace nearcell {
namespace {

constexpr size_t kPicturesAtOnce = 64;

void normalize(float* row, size_t dim) {
    double square = 0;
    for (size_t j = 0; j < dim; ++j)
        square += static_cast<double>(row[j]) * static_cast<double>(row[j]);
    if (square == 0) return;
    const double scale = 1 / std::sqrt(square);
    for (size_t j = 0; j < dim; ++j)
        row[j] = static_cast<float>(static_cast<double>(row[j]) * scale);
}

MapShape input_of(const Preprocess& preprocess) {
    return {preprocess.size.height, preprocess.size.width, kImageChannels};
}

}  // namespace

Extractor::Extractor(Model model, const Weights& weights, std::string_view tap)
    : model_(std::move(model)),
      network_(model_.layers, weights, input_of(model_.preprocess),
               tap.empty() ? std::string_view(model_.tap) : tap) {
    check_preprocess(model_.preprocess);
}

std::vector<SkippedPicture> Extractor::extract(std::span<const std::string> paths,
                                               const ExtractOptions& options,
                                               const Sink& sink) const {
    const size_t values = model_.preprocess.values(),
                 most = std::min(kPicturesAtOnce, paths.size());
    std::vector<float> planes(most * values), features(most * dim());
    std::vector<SkippedPicture> skipped;
    const auto total = static_cast<double>(paths.size());
    for (size_t first = 0; first < paths.size(); first += kPicturesAtOnce) {
        report(options.progress, "pictures", static_cast<double>(first), total);
        const size_t count = std::min(kPicturesAtOnce, paths.size() - first);
        std::vector<std::optional<Error>> errors(count);
        parallel_for(count, options.threads, [&](size_t i, int) {
            try {
                preprocess(read_image(paths[first + i]), model_.preprocess,
                           {planes.data() + i * values, values});
            } catch (const Error& error) {
                errors[i] = error;
            }
        });
        // Those that could be read move together.
        std::vector<size_t> numbers;
        for (size_t i = 0; i < count; ++i) {
            if (errors[i]) {
                if (options.strict) throw *errors[i];
                skipped.push_back({first + i, errors[i]->what()});
                continue;
            }
            if (numbers.size() != i) {
                std::copy_n(planes.begin() + static_cast<ptrdiff_t>(i * values), values,
                            planes.begin() + static_cast<ptrdiff_t>(numbers.size() * values));
            }
            numbers.push_back(first + i);
        }
        const MatrixView<float> rows(features.data(), numbers.size(), dim());
        network_.forward({planes.data(), numbers.size(), values}, rows, options.threads);
        for (size_t i = 0; options.normalize && i < numbers.size(); ++i)
            normalize(rows.row(i), dim());
        sink(numbers, {features.data(), numbers.size(), dim()});
    }
    report(options.progress, "pictures", total, total);
    return skipped;
}

}  // namespace nearcell
