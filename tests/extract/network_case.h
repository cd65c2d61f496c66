// Random weights for any list of layers, as a safetensors file, and the plainest forward pass in
// double precision: what a Network is compared with.
#pragma once

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <nearcell/core/random.h>
#include <nearcell/extract/network.h>

namespace nearcell {

struct NamedTensor {
    std::vector<size_t> shape;
    std::vector<float> values;
};
using NamedTensors = std::map<std::string, NamedTensor>;

inline void write_safetensors(const std::string& path, const NamedTensors& tensors) {
    std::string json = "{", data;
    for (const auto& [name, tensor] : tensors) {
        std::string shape;
        for (const size_t size : tensor.shape)
            shape += (shape.empty() ? "" : ",") + std::to_string(size);
        const size_t begin = data.size();
        data.append(reinterpret_cast<const char*>(tensor.values.data()), tensor.values.size() * 4);
        json += (json.size() > 1 ? ",\"" : "\"") + name + R"(":{"dtype":"F32","shape":[)" + shape +
                "],\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(data.size()) +
                "]}";
    }
    json += "}";
    const uint64_t length = json.size();
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&length), 8);
    file << json << data;
}

// A map in double precision, channel by channel, each row by row.
struct PlainMap {
    MapShape shape;
    std::vector<double> values;

    explicit PlainMap(MapShape shape_ = {}) : shape(shape_), values(shape_.values()) {}
    double& at(size_t c, size_t y, size_t x) {
        return values[(c * shape.height + y) * shape.width + x];
    }
    double at(size_t c, size_t y, size_t x) const {
        return values[(c * shape.height + y) * shape.width + x];
    }
};

class PlainNetwork {
   public:
    PlainNetwork(std::vector<Layer> layers, MapShape input, Random& random)
        : layers_(std::move(layers)), input_(input) {
        std::map<std::string, size_t> channels{{kNetworkInput, input.channels}};
        std::map<std::string, MapShape> shapes{{kNetworkInput, input}};
        std::string before = kNetworkInput;
        for (Layer& layer : layers_) {
            if (layer.input.empty()) layer.input = before;
            shapes[layer.name] = draw(layer, shapes[layer.input], random);
            before = layer.name;
        }
        shapes_ = shapes;
    }

    const NamedTensors& tensors() const { return tensors_; }
    const std::vector<Layer>& layers() const { return layers_; }

    PlainMap forward(const std::vector<double>& picture) const {
        std::map<std::string, PlainMap> maps;
        maps[kNetworkInput] = PlainMap(input_);
        maps[kNetworkInput].values = picture;
        for (const Layer& layer : layers_) {
            const PlainMap* added = layer.added.empty() ? nullptr : &maps.at(layer.added);
            maps[layer.name] = run(layer, maps.at(layer.input), added);
        }
        return maps.at(layers_.back().name);
    }

   private:
    NamedTensor random_tensor(std::vector<size_t> shape, double scale, double shift,
                              Random& random) const {
        NamedTensor tensor{std::move(shape), {}};
        size_t count = 1;
        for (const size_t size : tensor.shape)
            count *= size;
        for (size_t i = 0; i < count; ++i)
            tensor.values.push_back(static_cast<float>(shift + scale * random.normal()));
        return tensor;
    }

    static size_t windows(size_t size, const Layer& layer) {
        if (layer.padding == Padding::Same) return (size + layer.stride - 1) / layer.stride;
        return (size + 2 * layer.pad - layer.kernel) / layer.stride + 1;
    }
    static size_t pad_before(size_t size, const Layer& layer) {
        if (layer.padding == Padding::Explicit) return layer.pad;
        const size_t reach = (windows(size, layer) - 1) * layer.stride + layer.kernel;
        return reach > size ? (reach - size) / 2 : 0;
    }

    // The weights of a layer; returns the shape of its output.
    MapShape draw(const Layer& layer, MapShape in, Random& random) {
        const std::string name = layer.weights.empty() ? layer.name : layer.weights;
        switch (layer.kind) {
            case LayerKind::Convolution: {
                const size_t inner = in.channels / layer.groups * layer.kernel * layer.kernel;
                tensors_[name + ".weight"] = random_tensor(
                    {layer.channels, in.channels / layer.groups, layer.kernel, layer.kernel},
                    1 / std::sqrt(static_cast<double>(inner)), 0, random);
                break;
            }
            case LayerKind::Linear:
                tensors_[name + ".weight"] =
                    random_tensor({layer.channels, in.values()},
                                  1 / std::sqrt(static_cast<double>(in.values())), 0, random);
                break;
            case LayerKind::GlobalMean: return {1, 1, in.channels};
            case LayerKind::MaxPool:
            case LayerKind::MeanPool:
                return {windows(in.height, layer), windows(in.width, layer), in.channels};
            default: return in;
        }
        const std::vector<size_t> each{layer.channels};
        if (layer.batch_norm.empty() || random.below(2) == 0)
            tensors_[name + ".bias"] = random_tensor(each, 0.1, 0, random);
        if (!layer.batch_norm.empty()) {
            tensors_[layer.batch_norm + ".weight"] = random_tensor(each, 0.1, 1, random);
            tensors_[layer.batch_norm + ".bias"] = random_tensor(each, 0.1, 0, random);
            tensors_[layer.batch_norm + ".running_mean"] = random_tensor(each, 0.1, 0, random);
            NamedTensor variance = random_tensor(each, 0.1, 1, random);
            for (float& value : variance.values)
                value = std::fabs(value);
            tensors_[layer.batch_norm + ".running_var"] = variance;
        }
        if (layer.kind == LayerKind::Linear) return {1, 1, layer.channels};
        return {windows(in.height, layer), windows(in.width, layer), layer.channels};
    }

    double tensor(const std::string& name, size_t i) const {
        return static_cast<double>(tensors_.at(name).values[i]);
    }

    // f(value) over what of a window lies within the map.
    template <class F>
    static void each_in_window(const Layer& layer, const PlainMap& in, size_t y, size_t x, F&& f) {
        const size_t top = pad_before(in.shape.height, layer),
                     left = pad_before(in.shape.width, layer);
        for (size_t i = 0; i < layer.kernel; ++i) {
            for (size_t j = 0; j < layer.kernel; ++j) {
                const size_t row = y * layer.stride + i, column = x * layer.stride + j;
                if (row < top || column < left || row - top >= in.shape.height ||
                    column - left >= in.shape.width)
                    continue;
                f(i * layer.kernel + j, row - top, column - left);
            }
        }
    }

    PlainMap run(const Layer& layer, const PlainMap& in, const PlainMap* added) const {
        PlainMap out(shapes_.at(layer.name));
        for (size_t c = 0; c < out.shape.channels; ++c) {
            for (size_t y = 0; y < out.shape.height; ++y) {
                for (size_t x = 0; x < out.shape.width; ++x)
                    out.at(c, y, x) = value(layer, in, added, c, y, x);
            }
        }
        if (layer.kind == LayerKind::Softmax) softmax(out);
        for (double& value : out.values)
            value = activated(value, layer.activation);
        return out;
    }

    double value(const Layer& layer, const PlainMap& in, const PlainMap* added, size_t c, size_t y,
                 size_t x) const {
        const std::string name = layer.weights.empty() ? layer.name : layer.weights;
        double sum = 0;
        switch (layer.kind) {
            case LayerKind::Convolution: {
                const size_t group_in = in.shape.channels / layer.groups,
                             group_out = layer.channels / layer.groups,
                             taps = layer.kernel * layer.kernel, first = c / group_out * group_in;
                each_in_window(layer, in, y, x, [&](size_t tap, size_t row, size_t column) {
                    for (size_t i = 0; i < group_in; ++i)
                        sum += tensor(name + ".weight", (c * group_in + i) * taps + tap) *
                               in.at(first + i, row, column);
                });
                break;
            }
            case LayerKind::Linear:
                for (size_t i = 0; i < in.values.size(); ++i)
                    sum += tensor(name + ".weight", c * in.values.size() + i) * in.values[i];
                break;
            case LayerKind::MaxPool: {
                double most = -std::numeric_limits<double>::infinity();
                each_in_window(layer, in, y, x, [&](size_t, size_t row, size_t column) {
                    most = std::max(most, in.at(c, row, column));
                });
                return most;
            }
            case LayerKind::MeanPool: {
                size_t count = 0;
                each_in_window(layer, in, y, x, [&](size_t, size_t row, size_t column) {
                    sum += in.at(c, row, column);
                    ++count;
                });
                return sum / static_cast<double>(count);
            }
            case LayerKind::GlobalMean:
                for (size_t row = 0; row < in.shape.height; ++row) {
                    for (size_t column = 0; column < in.shape.width; ++column)
                        sum += in.at(c, row, column);
                }
                return sum / static_cast<double>(in.shape.height * in.shape.width);
            case LayerKind::Add: return in.at(c, y, x) + added->at(c, y, x);
            case LayerKind::Softmax: return in.at(c, y, x);
        }
        if (tensors_.contains(name + ".bias")) sum += tensor(name + ".bias", c);
        if (!layer.batch_norm.empty()) {
            const std::string& norm = layer.batch_norm;
            sum = (sum - tensor(norm + ".running_mean", c)) /
                      std::sqrt(tensor(norm + ".running_var", c) + layer.epsilon) *
                      tensor(norm + ".weight", c) +
                  tensor(norm + ".bias", c);
        }
        return added == nullptr ? sum : sum + added->at(c, y, x);
    }

    static void softmax(PlainMap& map) {
        const size_t pixels = map.shape.height * map.shape.width;
        for (size_t p = 0; p < pixels; ++p) {
            double sum = 0;
            for (size_t c = 0; c < map.shape.channels; ++c)
                sum += std::exp(map.values[c * pixels + p]);
            for (size_t c = 0; c < map.shape.channels; ++c)
                map.values[c * pixels + p] = std::exp(map.values[c * pixels + p]) / sum;
        }
    }

    static double activated(double x, Activation activation) {
        switch (activation) {
            case Activation::None: return x;
            case Activation::Relu: return std::max(x, 0.0);
            case Activation::Relu6: return std::clamp(x, 0.0, 6.0);
            case Activation::Silu: return x / (1 + std::exp(-x));
        }
        return x;
    }

    std::vector<Layer> layers_;
    MapShape input_;
    std::map<std::string, MapShape> shapes_;
    NamedTensors tensors_;
};

}  // namespace nearcell
