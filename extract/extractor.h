// Extractor: picture files to feature vectors: decode, resize, network, and where wanted a length
// of 1. Each thread decodes and computes pictures of its own, so that both go on at once. Memory
// does not grow with the number of files: for each thread one picture's, for all 64 features. On a
// device (to()) the threads decode some pictures while it computes those before: memory is two
// batches of decoded pictures. Cost: that of the network (multiply_adds() a picture) and of
// decoding, on a device the larger of both. Immutable but for to(); safe from any number of
// threads.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nearcell/core/matrix_view.h>
#include <nearcell/core/progress.h>
#include <nearcell/extract/models.h>
#include <nearcell/extract/network.h>

namespace nearcell {

struct ExtractOptions {
    bool normalize = false;  // features of length 1; zeros stay zeros
    bool strict = false;     // a picture that cannot be read is an error, not left out
    int threads = 0;
    Progress progress = {};
};

struct SkippedPicture {
    size_t number = 0;   // in the list
    std::string reason;  // names the file
};

class Extractor {
   public:
    // tap: a layer of the model; empty: its own choice.
    Extractor(Model model, const Weights& weights, std::string_view tap = {});

    // As Network::to: "cuda:0", or back to the "cpu".
    void to(std::string_view device, const DeviceOptions& options = {}) {
        network_.to(device, options);
    }
    std::string device() const { return network_.device(); }

    const Model& model() const { return model_; }
    const Network& network() const { return network_; }
    size_t dim() const { return network_.output_shape().values(); }

    // Calls sink(numbers, features) in the order of the list, on the calling thread: row i of the
    // features is those of picture numbers[i]. Returns the pictures that could not be read, with
    // the reasons; with `strict` the first of these is thrown. Throws Cancelled, and NonFinite for
    // a feature that is no number.
    using Sink = std::function<void(std::span<const size_t> numbers, MatrixView<const float>)>;
    std::vector<SkippedPicture> extract(std::span<const std::string> paths,
                                        const ExtractOptions& options, const Sink& sink) const;

   private:
    struct Batch;
    class Run;

    Model model_;
    Network network_;
};

}  // namespace nearcell
