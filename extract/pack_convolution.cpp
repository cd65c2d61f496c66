// Weights of a convolution into the blocks that kernels multiply with.
#include <cmath>
#include <limits>
#include <string>

#include <nearcell/core/error.h>
#include <nearcell/extract/network_plan.h>

namespace nearcell {
namespace {

size_t padded(size_t channels) { return blocks_for(channels) * kBlock; }

// What a batch norm does to each channel: x becomes scale x + shift (Ioffe and Szegedy 2015,
// section 3.1, with the running mean and variance).
struct Scaling {
    std::vector<double> scale, shift;
};

Scaling scaling_of(const Layer& layer, size_t channels, const Weights& weights) {
    Scaling scaling{std::vector<double>(channels, 1.0), std::vector<double>(channels, 0.0)};
    const std::string prefix = layer.weights.empty() ? layer.name : layer.weights;
    const uint64_t shape[] = {channels};
    std::span<const float> bias;
    if (weights.has(prefix + ".bias")) bias = weights.get(prefix + ".bias", shape).values;
    for (size_t c = 0; c < bias.size(); ++c)
        scaling.shift[c] = static_cast<double>(bias[c]);
    if (layer.batch_norm.empty()) return scaling;
    const auto values = [&](const char* which) {
        return weights.get(layer.batch_norm + which, shape).values;
    };
    const auto gamma = values(".weight"), beta = values(".bias");
    const auto mean = values(".running_mean"), variance = values(".running_var");
    for (size_t c = 0; c < channels; ++c) {
        const double spread = static_cast<double>(variance[c]) + layer.epsilon;
        check(spread > 0, StatusCode::Corrupt, weights.path(), ": ", layer.batch_norm,
              ".running_var of channel ", c, " is ", variance[c],
              ", and a variance is not negative; get the file again");
        scaling.scale[c] = static_cast<double>(gamma[c]) / std::sqrt(spread);
        scaling.shift[c] = static_cast<double>(beta[c]) +
                           (scaling.shift[c] - static_cast<double>(mean[c])) * scaling.scale[c];
    }
    return scaling;
}

// A linear layer's weights are those of a convolution whose kernel is the whole map.
std::span<const float> weight_values(const PlannedLayer& planned, size_t in_channels,
                                     size_t out_channels, const Weights& weights) {
    const Layer& layer = planned.layer;
    const std::string name = (layer.weights.empty() ? layer.name : layer.weights) + ".weight";
    if (layer.kind == LayerKind::Linear) {
        const uint64_t shape[] = {out_channels,
                                  in_channels * planned.kernel_height * planned.kernel_width};
        return weights.get(name, shape).values;
    }
    const uint64_t shape[] = {out_channels, in_channels / layer.groups, layer.kernel, layer.kernel};
    return weights.get(name, shape).values;
}

}  // namespace

ConvView PackedConvolution::view(size_t group) const {
    ConvView view;
    view.offsets = offsets.data();
    view.piece_count = offsets.size();
    view.length = length;
    view.channels = group_channels;
    view.weights = weights[group].data();
    view.bias = bias[group].data();
    view.low = low;
    view.high = high;
    return view;
}

PackedConvolution pack_convolution(const PlannedLayer& planned, const MapPlace& in,
                                   size_t out_channels, const Weights& weights) {
    const Layer& layer = planned.layer;
    const size_t channels = in.shape.channels, height = planned.kernel_height,
                 width = planned.kernel_width, taps = height * width;
    PackedConvolution packed;
    packed.depthwise = layer.groups == channels && out_channels == channels && channels > 1;
    packed.groups = packed.depthwise ? 1 : layer.groups;
    packed.group_channels = out_channels / packed.groups;
    const size_t in_channels = packed.depthwise ? 1 : channels / packed.groups;
    const Scaling scaling = scaling_of(layer, out_channels, weights);
    const std::span<const float> from = weight_values(planned, channels, out_channels, weights);
    // Taps of a row are one piece where nothing lies between them.
    const bool rows = !packed.depthwise && packed.groups == 1;
    packed.length = in_channels * (rows ? width : 1);
    for (size_t y = 0; y < height; ++y) {
        for (size_t x = 0; x < (rows ? 1 : width); ++x)
            packed.offsets.push_back(static_cast<uint32_t>(y * in.row_stride() + x * channels));
    }
    const float infinity = std::numeric_limits<float>::infinity();
    const bool clamps =
        layer.activation == Activation::Relu || layer.activation == Activation::Relu6;
    packed.low = clamps ? 0.0f : -infinity;
    packed.high = layer.activation == Activation::Relu6 ? 6.0f : infinity;
    for (size_t group = 0; group < packed.groups; ++group) {
        const size_t count = packed.group_channels, room = padded(count);
        AlignedBuffer<float> values(taps * in_channels * room), bias(room);
        float* const to = values.mutable_data();
        for (size_t o = 0; o < count; ++o) {
            const size_t channel = group * count + o;
            bias.mutable_data()[o] = static_cast<float>(scaling.shift[channel]);
            for (size_t i = 0; i < in_channels; ++i) {
                for (size_t tap = 0; tap < taps; ++tap) {
                    const double value =
                        static_cast<double>(from[(channel * in_channels + i) * taps + tap]) *
                        scaling.scale[channel];
                    const size_t inner = tap * in_channels + i;
                    const size_t at =
                        packed.depthwise
                            ? tap * room + o
                            : (o / kBlock * taps * in_channels + inner) * kBlock + o % kBlock;
                    to[at] = static_cast<float>(value);
                }
            }
        }
        packed.weights.push_back(std::move(values));
        packed.bias.push_back(std::move(bias));
    }
    return packed;
}

}  // namespace nearcell
