#include <nearcell/extract/network.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <utility>

#include <nearcell/core/error.h>
#include <nearcell/core/parallel.h>
#include <nearcell/extract/network_plan.h>

namespace nearcell {
namespace {

constexpr size_t kTogether = 64;  // pictures between two reports of progress

float activated(float x, Activation activation) {
    switch (activation) {
        case Activation::None: return x;
        case Activation::Relu: return x > 0 ? x : 0;
        case Activation::Relu6: return std::min(x > 0 ? x : 0.0f, 6.0f);
        case Activation::Silu: return x / (1.0f + std::exp(-x));
    }
    return x;
}

// f(y, x) for all pixels of a map.
template <class F>
void each_pixel(const MapView& map, F&& f) {
    for (size_t y = 0; y < map.height; ++y) {
        for (size_t x = 0; x < map.width; ++x)
            f(y, x);
    }
}

void activate(const MapView& map, Activation activation) {
    each_pixel(map, [&](size_t y, size_t x) {
        float* const values = map.pixel(y, x);
        for (size_t c = 0; c < map.channels; ++c)
            values[c] = activated(values[c], activation);
    });
}

void softmax(const MapView& in, const MapView& out) {
    each_pixel(out, [&](size_t y, size_t x) {
        const float* const from = in.pixel(y, x);
        float* const to = out.pixel(y, x);
        const float most = *std::max_element(from, from + in.channels);
        double sum = 0;
        for (size_t c = 0; c < in.channels; ++c)
            sum += std::exp(static_cast<double>(from[c] - most));
        for (size_t c = 0; c < in.channels; ++c)
            to[c] = static_cast<float>(std::exp(static_cast<double>(from[c] - most)) / sum);
    });
}

void add_maps(const MapView& a, const MapView& b, const MapView& out) {
    each_pixel(out, [&](size_t y, size_t x) {
        for (size_t c = 0; c < out.channels; ++c)
            out.pixel(y, x)[c] = a.pixel(y, x)[c] + b.pixel(y, x)[c];
    });
}

void convolve(const PlannedLayer& planned, const MapView& in, const MapView& added,
              const MapView& out, const Backend& backend) {
    const PackedConvolution& packed = planned.convolution;
    const size_t group_in = in.channels / packed.groups;
    for (size_t group = 0; group < packed.groups; ++group) {
        ConvJob job;
        job.conv = packed.view(group);
        job.depthwise = packed.depthwise;
        job.in = in.from_channel(group * group_in);
        job.out = out.from_channel(group * packed.group_channels);
        if (added.origin != nullptr) job.added = added.from_channel(group * packed.group_channels);
        job.stride = planned.layer.stride;
        job.pad_top = planned.pad_top;
        job.pad_left = planned.pad_left;
        backend.convolve(job);
    }
}

// Planes to pixels, and back.
void read_planes(const float* planes, const MapView& map) {
    const size_t pixels = map.height * map.width;
    each_pixel(map, [&](size_t y, size_t x) {
        for (size_t c = 0; c < map.channels; ++c)
            map.pixel(y, x)[c] = planes[c * pixels + y * map.width + x];
    });
}
void write_planes(const MapView& map, float* planes) {
    const size_t pixels = map.height * map.width;
    each_pixel(map, [&](size_t y, size_t x) {
        for (size_t c = 0; c < map.channels; ++c)
            planes[c * pixels + y * map.width + x] = map.pixel(y, x)[c];
    });
}

void run_layer(const PlannedLayer& planned, const MapView& in, const MapView& added,
               const MapView& out, const Backend& backend) {
    const Layer& layer = planned.layer;
    switch (layer.kind) {
        case LayerKind::Convolution:
        case LayerKind::Linear:
            convolve(planned, in, added, out, backend);
            if (layer.activation == Activation::Silu) activate(out, layer.activation);
            return;
        case LayerKind::MaxPool:
        case LayerKind::MeanPool:
        case LayerKind::GlobalMean: {
            PoolJob job;
            job.mean = layer.kind != LayerKind::MaxPool;
            job.in = in;
            job.out = out;
            job.kernel_height = planned.kernel_height;
            job.kernel_width = planned.kernel_width;
            job.stride = layer.stride;
            job.pad_top = planned.pad_top;
            job.pad_left = planned.pad_left;
            backend.pool(job);
            break;
        }
        case LayerKind::Add: add_maps(in, added, out); break;
        case LayerKind::Softmax: softmax(in, out); break;
    }
    if (layer.activation != Activation::None) activate(out, layer.activation);
}

}  // namespace

Network::Network(const std::vector<Layer>& layers, const Weights& weights, MapShape input,
                 std::string_view tap)
    : plan_(std::make_unique<const Plan>(layers, weights, input, tap)) {}
Network::~Network() = default;
Network::Network(Network&&) noexcept = default;
Network& Network::operator=(Network&&) noexcept = default;

MapShape Network::input_shape() const { return plan_->maps.front().shape; }
MapShape Network::output_shape() const { return plan_->maps.back().shape; }
std::vector<LayerCost> Network::costs() const {
    std::vector<LayerCost> costs;
    for (size_t l = 0; l < plan_->layers.size(); ++l) {
        const PlannedLayer& planned = plan_->layers[l];
        const MapShape out = plan_->maps[l + 1].shape;
        size_t floats = plan_->maps[planned.input].shape.values() + out.values() +
                        (planned.added == 0 ? 0 : out.values());
        for (const AlignedBuffer<float>& weights : planned.convolution.weights)
            floats += weights.size();
        costs.push_back({planned.layer.name, out, planned.multiply_adds, floats * sizeof(float)});
    }
    return costs;
}

uint64_t Network::multiply_adds() const {
    uint64_t sum = 0;
    for (const PlannedLayer& planned : plan_->layers)
        sum += planned.multiply_adds;
    return sum;
}

std::vector<std::string> Network::layers() const {
    std::vector<std::string> names;
    for (const PlannedLayer& planned : plan_->layers)
        names.push_back(planned.layer.name);
    return names;
}

void Network::to(std::string_view device, const DeviceOptions& options) {
    const Device* const found = find_device(device);
    std::unique_ptr<const DeviceNetwork> held;
    if (found != nullptr) held = found->hold_network(plan_->steps(), options);
    held_ = std::move(held);
    device_ = found;
}

std::string Network::device() const { return device_ == nullptr ? "cpu" : device_->name(); }

size_t Network::batch_pictures() const {
    return held_ == nullptr ? kTogether : held_->batch_pictures();
}

Network::Pass::Pass(const Network& network) : plan_(*network.plan_) {
    for (const size_t floats : plan_.slot_floats)
        slots_.emplace_back(floats);
}

void Network::Pass::run(std::span<const float> planes, std::span<float> out,
                        std::span<double> layer_seconds) {
    const size_t last = plan_.layers.size(), values = plan_.maps.front().shape.values(),
                 dim = plan_.maps.back().shape.values();
    check(planes.size() == values && out.size() == dim, StatusCode::InvalidArgument, "planes has ",
          planes.size(), " values and out ", out.size(), ", must be ", values, " and ", dim);
    check(layer_seconds.empty() || layer_seconds.size() == last, StatusCode::InvalidArgument,
          "layer_seconds has ", layer_seconds.size(), " values, must be empty or have ", last);
    const Backend& backend = cpu_backend();
    const auto memory = [&](size_t map) { return slots_[plan_.maps[map].slot].mutable_data(); };
    const auto view = [&](size_t map) { return plan_.maps[map].view(memory(map)); };
    plan_.maps.front().clear_border(memory(0));
    read_planes(planes.data(), view(0));
    using Clock = std::chrono::steady_clock;
    for (size_t l = 0; l < last; ++l) {
        const PlannedLayer& planned = plan_.layers[l];
        const Clock::time_point start = layer_seconds.empty() ? Clock::time_point() : Clock::now();
        plan_.maps[l + 1].clear_border(memory(l + 1));
        run_layer(planned, view(planned.input),
                  planned.added == 0 ? MapView() : view(planned.added), view(l + 1), backend);
        if (!layer_seconds.empty())
            layer_seconds[l] = std::chrono::duration<double>(Clock::now() - start).count();
    }
    write_planes(view(last), out.data());
}

void Network::forward(MatrixView<const float> pictures, MatrixView<float> out, int threads,
                      const Progress& progress) const {
    const size_t values = input_shape().values(), dim = output_shape().values();
    check(pictures.cols == values, StatusCode::InvalidArgument, "pictures have ", pictures.cols,
          " values each, but the network takes ", input_shape().channels, " x ",
          input_shape().height, " x ", input_shape().width, " = ", values);
    check(out.rows == pictures.rows && out.cols == dim, StatusCode::InvalidArgument, "out is ",
          out.rows, " x ", out.cols, ", must be ", pictures.rows, " x ", dim);
    std::vector<std::optional<Pass>> passes(static_cast<size_t>(resolve_threads(threads)));
    const size_t together = batch_pictures();
    for (size_t first = 0; first < pictures.rows; first += together) {
        report(progress, "network", static_cast<double>(first), static_cast<double>(pictures.rows));
        const size_t count = std::min(together, pictures.rows - first);
        if (held_ != nullptr) {
            held_->forward(pictures.slice(first, count), out.slice(first, count), threads);
            continue;
        }
        parallel_for(count, threads, [&](size_t i, int worker) {
            std::optional<Pass>& mine = passes[static_cast<size_t>(worker)];
            if (!mine) mine.emplace(*this);
            mine->run({pictures.row(first + i), values}, {out.row(first + i), dim});
        });
    }
    report(progress, "network", static_cast<double>(pictures.rows),
           static_cast<double>(pictures.rows));
}

}  // namespace nearcell
