#include <nearcell/extract/extractor.h>

#include <algorithm>
#include <cmath>
#include <new>
#include <optional>
#include <utility>

#include <nearcell/core/error.h>
#include <nearcell/core/parallel.h>
#include <nearcell/extract/image.h>

namespace nearcell {
namespace {

constexpr size_t kPicturesAtOnce = 64;

void normalize(std::span<float> feature) {
    double square = 0;
    for (const float value : feature)
        square += static_cast<double>(value) * static_cast<double>(value);
    if (square == 0) return;
    const double scale = 1 / std::sqrt(square);
    for (float& value : feature)
        value = static_cast<float>(static_cast<double>(value) * scale);
}

void check_feature(std::span<const float> feature, const std::string& path) {
    for (const float value : feature)
        check(std::isfinite(value), StatusCode::NonFinite, path, ": its feature holds ", value,
              ": the network's weights are damaged or of another model; get them again");
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
    const size_t most = std::min(kPicturesAtOnce, paths.size());
    std::vector<float> features(most * dim());
    // A picture is decoded by the thread that computes it: while some decode, others compute.
    struct Worker {
        explicit Worker(const Network& network)
            : planes(network.input_shape().values()), pass(network) {}
        std::vector<float> planes;
        Network::Pass pass;
    };
    std::vector<std::optional<Worker>> workers(
        static_cast<size_t>(resolve_threads(options.threads)));
    std::vector<SkippedPicture> skipped;
    const auto total = static_cast<double>(paths.size());
    for (size_t first = 0; first < paths.size(); first += kPicturesAtOnce) {
        report(options.progress, "pictures", static_cast<double>(first), total);
        const size_t count = std::min(kPicturesAtOnce, paths.size() - first);
        std::vector<std::optional<Error>> errors(count);
        parallel_for(count, options.threads, [&](size_t i, int number) {
            std::optional<Worker>& mine = workers[static_cast<size_t>(number)];
            if (!mine) mine.emplace(network_);
            const std::span<float> feature(features.data() + i * dim(), dim());
            try {
                preprocess(read_image(paths[first + i]), model_.preprocess, mine->planes);
            } catch (const Error& error) {
                errors[i] = error;
                return;
            } catch (const std::bad_alloc&) {
                throw_error(StatusCode::OutOfMemory, paths[first + i],
                            ": not enough memory to decode it; leave it out, or use fewer threads");
            }
            mine->pass.run(mine->planes, feature);
            check_feature(feature, paths[first + i]);
            if (options.normalize) normalize(feature);
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
                std::copy_n(features.data() + i * dim(), dim(),
                            features.data() + numbers.size() * dim());
            }
            numbers.push_back(first + i);
        }
        sink(numbers, {features.data(), numbers.size(), dim()});
    }
    report(options.progress, "pictures", total, total);
    return skipped;
}

}  // namespace nearcell
