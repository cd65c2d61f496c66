#include <nearcell/extract/extractor.h>

#include <algorithm>
#include <cmath>
#include <future>
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

// Pictures that pass together, and what became of them.
struct Extractor::Batch {
    size_t first = 0, count = 0;
    std::vector<std::optional<Error>> errors;
    std::vector<float> planes;  // on a device; of the CPU each thread has one picture's
    std::vector<float> features;

    std::span<float> feature(size_t i, size_t dim) { return {features.data() + i * dim, dim}; }
};

// One call of extract().
class Extractor::Run {
   public:
    Run(const Extractor& extractor, std::span<const std::string> paths,
        const ExtractOptions& options, const Sink& sink)
        : extractor_(extractor),
          network_(extractor.network_),
          paths_(paths),
          options_(options),
          sink_(sink),
          dim_(extractor.dim()) {}

    std::vector<SkippedPicture> on_cpu() {
        // A picture is decoded by the thread that computes it: while some decode, others compute.
        struct Worker {
            explicit Worker(const Network& network)
                : planes(network.input_shape().values()), pass(network) {}
            std::vector<float> planes;
            Network::Pass pass;
        };
        std::vector<std::optional<Worker>> workers(
            static_cast<size_t>(resolve_threads(options_.threads)));
        Batch batch;
        for (size_t first = 0; first < paths_.size(); first += kPicturesAtOnce) {
            start(batch, first, kPicturesAtOnce);
            parallel_for(batch.count, options_.threads, [&](size_t i, int number) {
                std::optional<Worker>& mine = workers[static_cast<size_t>(number)];
                if (!mine) mine.emplace(network_);
                if (!decode(batch, i, mine->planes)) return;
                mine->pass.run(mine->planes, batch.feature(i, dim_));
                finish(batch, i);
            });
            hand_out(batch);
        }
        return done();
    }

    std::vector<SkippedPicture> on_device() {
        const size_t values = network_.input_shape().values();
        const size_t together = std::min(network_.batch_pictures(), paths_.size());
        Batch decoded, computed;
        std::future<void> computing;  // goes first, waiting for what it uses of the batches
        const auto finish_computed = [&] {
            if (!computing.valid()) return;
            computing.get();
            parallel_for(computed.count, options_.threads, [&](size_t i, int) {
                if (!computed.errors[i]) finish(computed, i);
            });
            hand_out(computed);
        };
        for (size_t first = 0; first < paths_.size(); first += together) {
            start(decoded, first, together);
            decoded.planes.resize(decoded.count * values);
            parallel_for(decoded.count, options_.threads, [&](size_t i, int) {
                const std::span<float> planes(decoded.planes.data() + i * values, values);
                if (!decode(decoded, i, planes)) std::fill(planes.begin(), planes.end(), 0.0f);
            });
            finish_computed();
            std::swap(decoded, computed);
            computing = std::async(std::launch::async, [this, &computed, values] {
                network_.forward({computed.planes.data(), computed.count, values},
                                 {computed.features.data(), computed.count, dim_}, 1);
            });
        }
        finish_computed();
        return done();
    }

   private:
    void start(Batch& batch, size_t first, size_t most) {
        report(options_.progress, "pictures", static_cast<double>(first),
               static_cast<double>(paths_.size()));
        batch.first = first;
        batch.count = std::min(most, paths_.size() - first);
        batch.errors.assign(batch.count, std::nullopt);
        batch.features.resize(batch.count * dim_);
    }

    // False when the picture cannot be read.
    bool decode(Batch& batch, size_t i, std::span<float> planes) const {
        const std::string& path = paths_[batch.first + i];
        try {
            preprocess(read_image(path), extractor_.model_.preprocess, planes);
        } catch (const Error& error) {
            batch.errors[i] = error;
            return false;
        } catch (const std::bad_alloc&) {
            throw_error(StatusCode::OutOfMemory, path,
                        ": not enough memory to decode it; leave it out, or use fewer threads");
        }
        return true;
    }

    void finish(Batch& batch, size_t i) const {
        check_feature(batch.feature(i, dim_), paths_[batch.first + i]);
        if (options_.normalize) normalize(batch.feature(i, dim_));
    }

    // Those that could be read move together.
    void hand_out(Batch& batch) {
        std::vector<size_t> numbers;
        for (size_t i = 0; i < batch.count; ++i) {
            if (batch.errors[i]) {
                if (options_.strict) throw *batch.errors[i];
                skipped_.push_back({batch.first + i, batch.errors[i]->what()});
                continue;
            }
            if (numbers.size() != i)
                std::ranges::copy(batch.feature(i, dim_),
                                  batch.feature(numbers.size(), dim_).begin());
            numbers.push_back(batch.first + i);
        }
        sink_(numbers, {batch.features.data(), numbers.size(), dim_});
    }

    std::vector<SkippedPicture> done() {
        const auto total = static_cast<double>(paths_.size());
        report(options_.progress, "pictures", total, total);
        return std::move(skipped_);
    }

    const Extractor& extractor_;
    const Network& network_;
    std::span<const std::string> paths_;
    const ExtractOptions& options_;
    const Sink& sink_;
    size_t dim_;
    std::vector<SkippedPicture> skipped_;
};

std::vector<SkippedPicture> Extractor::extract(std::span<const std::string> paths,
                                               const ExtractOptions& options,
                                               const Sink& sink) const {
    Run run(*this, paths, options, sink);
    return device() == "cpu" ? run.on_cpu() : run.on_device();
}

}  // namespace nearcell
