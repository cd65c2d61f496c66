#include <nearcell/gpu/device_network.h>

#include <algorithm>
#include <utility>

#include <nearcell/core/error.h>
#include <nearcell/core/parallel.h>
#include <nearcell/gpu/launch_size.h>
#include <nearcell/gpu/kernels/map_steps.cuh>

namespace nearcell::gpu {
namespace {

// Of a batch: more would fill a large GPU no better.
constexpr size_t kMostPictures = 256;
// What kernels count in 31 bits.
constexpr size_t kMostCounted = size_t{1} << 31;
constexpr const char* kWhat = "weights";

size_t padded(size_t channels) { return blocks_for(channels) * kBlock; }

StepActivation activation_of(const NetworkStep& step) { return {step.low, step.high, step.silu}; }

using ConvKernelPointer = void (*)(MapConvolution);

template <ConvArithmetic kArithmetic>
ConvKernelPointer conv_kernel(bool wide, int channels) {
    if (wide)
        return channels == 64 ? convolve_maps<kArithmetic, true, 64>
                              : convolve_maps<kArithmetic, true, 32>;
    return channels == 64 ? convolve_maps<kArithmetic, false, 64>
                          : convolve_maps<kArithmetic, false, 32>;
}

// The tile that fewer channels are wasted with.
int tile_channels(size_t channels) {
    return (channels + 63) / 64 * 64 > (channels + 31) / 32 * 32 ? 32 : 64;
}

}  // namespace

CudaNetwork::CudaNetwork(const NetworkSteps& network, const DeviceOptions& options, int ordinal,
                         size_t memory_limit)
    : ordinal_(ordinal),
      arithmetic_(conv_arithmetic(simt::device_properties().architecture)),
      budget_(memory_limit, {"network", "the maps of pictures",
                             "let fewer pictures pass at once (DeviceOptions::scratch_bytes), or "
                             "use a smaller network"}),
      maps_(network.maps),
      sessions_(budget_) {
    check_size();
    for (const NetworkMap& map : maps_) {
        if (map.slot >= slot_values_.size()) slot_values_.resize(map.slot + 1);
        slot_values_[map.slot] = std::max(slot_values_[map.slot], map.values());
    }
    size_t each = maps_.front().values() + maps_.back().values();
    for (const size_t values : slot_values_)
        each += values;
    batch_ = std::clamp<size_t>(options.scratch_bytes / (each * sizeof(float)), 1, kMostPictures);
    for (const NetworkMap& map : maps_)
        batch_ = std::clamp<size_t>((kMostCounted - 1) / map.pixels(), 1, batch_);
    for (const NetworkStep& plan : network.steps) {
        Step step;
        step.plan = plan;
        if (!plan.groups.empty()) hold_weights(maps_[plan.input], step);
        step.plan.groups.clear();
        steps_.push_back(std::move(step));
    }
}

void CudaNetwork::check_size() const {
    for (const NetworkMap& map : maps_)
        check(map.values() < kMostCounted, StatusCode::Unsupported, "a map of ", map.height, " x ",
              map.width, " x ", map.channels, " = ", map.values(),
              " values is too large for a device, which takes less than ", kMostCounted,
              ": feed smaller pictures, or extract on cpu");
}

// As the CPU has them, groups one after another; what lies past the last channel is zero.
void CudaNetwork::hold_weights(const NetworkMap& in, Step& step) {
    const std::vector<ConvView>& groups = step.plan.groups;
    const size_t channels = padded(groups.front().channels);
    const size_t taps = step.plan.kernel_height * step.plan.kernel_width;
    const bool depthwise = step.plan.kind == StepKind::Depthwise;
    const size_t inner = depthwise ? taps : taps * (in.channels / groups.size());
    const simt::Stream stream = stream_.get();
    step.group_count = groups.size();
    step.weights = DeviceArray<float>(groups.size() * inner * channels, stream, budget_, kWhat);
    step.bias = DeviceArray<float>(groups.size() * channels, stream, budget_, kWhat);
    for (size_t g = 0; g < groups.size(); ++g) {
        step.weights.copy_from(groups[g].weights, inner * channels, g * inner * channels);
        step.bias.copy_from(groups[g].bias, channels, g * channels);
    }
    if (!depthwise) hold_parts(in, step);
    simt::synchronize(stream);
}

void CudaNetwork::hold_parts(const NetworkMap& in, Step& step) {
    const size_t group_in = in.channels / step.plan.groups.size();
    step.wide = group_in % 4 == 0;
    const size_t width = step.wide ? 4 : 1;
    std::vector<WindowPart> parts;
    for (size_t row = 0; row < step.plan.kernel_height; ++row) {
        for (size_t column = 0; column < step.plan.kernel_width; ++column) {
            for (size_t c = 0; c < group_in; c += width)
                parts.push_back({static_cast<unsigned>((row * in.width + column) * in.channels + c),
                                 static_cast<unsigned short>(row),
                                 static_cast<unsigned short>(column)});
        }
    }
    step.parts = DeviceArray<WindowPart>(parts.size(), stream_.get(), budget_, kWhat);
    step.parts.copy_from(parts.data(), parts.size());
    simt::synchronize(stream_.get());
}

// Some pictures on their way.
class CudaNetwork::Call {
   public:
    Call(const CudaNetwork& network, Session& session, size_t pictures)
        : network_(network), session_(session), pictures_(pictures) {
        for (const size_t values : network.slot_values_)
            slots_.push_back(session.scratch.take<float>(values * pictures));
    }

    void run(MatrixView<const float> pictures, MatrixView<float> out, int threads) {
        read(pictures, threads);
        for (size_t i = 0; i < network_.steps_.size(); ++i)
            run_step(network_.steps_[i], i + 1);
        write(out, threads);
    }

   private:
    simt::Stream stream() const { return session_.stream.get(); }
    float* map(size_t number) const { return slots_[network_.maps_[number].slot]; }

    void read(MatrixView<const float> pictures, int threads) {
        const NetworkMap& shape = network_.maps_.front();
        const size_t values = pictures_ * shape.values();
        float* const staged = session_.upload.get<float>(values);
        parallel_for(pictures_, threads, [&](size_t i, int) {
            std::copy_n(pictures.row(i), pictures.cols, staged + i * pictures.cols);
        });
        float* const planes = session_.scratch.take<float>(values);
        simt::copy_to_device(planes, staged, values * sizeof(float), stream());
        simt::launch({"planes_to_pixels", blocks_of(pictures_ * shape.pixels(), kMapThreads),
                      kMapThreads, 0, stream()},
                     planes_to_pixels, planes, pictures_, shape.pixels(),
                     static_cast<unsigned>(shape.channels), map(0));
    }

    void write(MatrixView<float> out, int threads) {
        const NetworkMap& shape = network_.maps_.back();
        const size_t values = pictures_ * shape.values();
        const float* planes = map(network_.maps_.size() - 1);
        if (shape.pixels() != 1) {
            float* const turned = session_.scratch.take<float>(values);
            simt::launch(
                {"pixels_to_planes", blocks_of(values, kMapThreads), kMapThreads, 0, stream()},
                pixels_to_planes, planes, pictures_, shape.pixels(),
                static_cast<unsigned>(shape.channels), turned);
            planes = turned;
        }
        float* const staged = session_.download.get<float>(values);
        simt::copy_to_host(staged, planes, values * sizeof(float), stream());
        simt::synchronize(stream());
        parallel_for(pictures_, threads, [&](size_t i, int) {
            std::copy_n(staged + i * out.cols, out.cols, out.row(i));
        });
    }

    void run_step(const Step& step, size_t number) {
        const NetworkMap& shape = network_.maps_[number];
        const float* const in = map(step.plan.input);
        const float* const added = step.plan.added == 0 ? nullptr : map(step.plan.added);
        const size_t values = pictures_ * shape.values(), pixels = pictures_ * shape.pixels();
        const StepActivation activation = activation_of(step.plan);
        switch (step.plan.kind) {
            case StepKind::Convolution: convolve(step, number, in, added); return;
            case StepKind::Depthwise:
            case StepKind::MaxPool:
            case StepKind::MeanPool: take_windows(step, number, in, added); return;
            case StepKind::Add:
                simt::launch({"add_maps", blocks_of(values, kMapThreads), kMapThreads, 0, stream()},
                             add_maps, in, added, values, activation, map(number));
                return;
            case StepKind::Softmax:
                simt::launch(
                    {"softmax_maps", blocks_of(pixels * 32, kMapThreads), kMapThreads, 0, stream()},
                    softmax_maps, in, pixels, static_cast<unsigned>(shape.channels), activation,
                    map(number));
                return;
        }
    }

    void convolve(const Step& step, size_t number, const float* in, const float* added) {
        const NetworkMap &from = network_.maps_[step.plan.input], &shape = network_.maps_[number];
        const size_t groups = step.group_count, group_out = shape.channels / groups;
        MapConvolution conv{};
        conv.in = in;
        conv.added = added;
        conv.out = map(number);
        conv.weights = step.weights.data();
        conv.bias = step.bias.data();
        conv.parts = step.parts.data();
        conv.pixels = static_cast<unsigned>(pictures_ * shape.pixels());
        conv.out_width = static_cast<unsigned>(shape.width);
        conv.out_pixels = static_cast<unsigned>(shape.pixels());
        conv.in_height = static_cast<int>(from.height);
        conv.in_width = static_cast<int>(from.width);
        conv.in_channels = static_cast<unsigned>(from.channels);
        conv.out_channels = static_cast<unsigned>(shape.channels);
        conv.groups = static_cast<unsigned>(groups);
        conv.group_in = static_cast<unsigned>(from.channels / groups);
        conv.group_out = static_cast<unsigned>(group_out);
        conv.inner = static_cast<unsigned>(step.plan.kernel_height * step.plan.kernel_width *
                                           (from.channels / groups));
        conv.stride = static_cast<int>(step.plan.stride);
        conv.pad_top = static_cast<int>(step.plan.pad_top);
        conv.pad_left = static_cast<int>(step.plan.pad_left);
        conv.activation = activation_of(step.plan);
        const int channels = tile_channels(group_out);
        const size_t tiles =
            blocks_of(group_out, channels) * groups * blocks_of(conv.pixels, kConvPixels);
        const auto kernel = network_.arithmetic_ == ConvArithmetic::Tf32x3
                                ? conv_kernel<ConvArithmetic::Tf32x3>(step.wide, channels)
                                : conv_kernel<ConvArithmetic::Float32>(step.wide, channels);
        simt::launch({"convolve_maps", static_cast<unsigned>(tiles), kConvThreads, 0, stream()},
                     kernel, conv);
    }

    void take_windows(const Step& step, size_t number, const float* in, const float* added) {
        const NetworkMap &from = network_.maps_[step.plan.input], &shape = network_.maps_[number];
        MapWindows windows{};
        windows.in = in;
        windows.added = added;
        windows.out = map(number);
        windows.weights = step.weights.data();
        windows.bias = step.bias.data();
        windows.pictures = static_cast<unsigned>(pictures_);
        windows.channels = static_cast<unsigned>(shape.channels);
        windows.in_height = static_cast<int>(from.height);
        windows.in_width = static_cast<int>(from.width);
        windows.out_height = static_cast<int>(shape.height);
        windows.out_width = static_cast<int>(shape.width);
        windows.rows = static_cast<int>(step.plan.kernel_height);
        windows.columns = static_cast<int>(step.plan.kernel_width);
        windows.stride = static_cast<int>(step.plan.stride);
        windows.pad_top = static_cast<int>(step.plan.pad_top);
        windows.pad_left = static_cast<int>(step.plan.pad_left);
        windows.mean = step.plan.kind == StepKind::MeanPool;
        windows.activation = activation_of(step.plan);
        const bool wide = shape.channels % 4 == 0,
                   depthwise = step.plan.kind == StepKind::Depthwise;
        const size_t across = depthwise ? blocks_of(shape.width, int{kRowPixels}) : shape.width;
        const size_t threads =
            pictures_ * shape.height * across * (shape.channels / (wide ? 4 : 1));
        const simt::LaunchShape launch{depthwise ? "depthwise_maps" : "pool_maps",
                                       blocks_of(threads, kMapThreads), kMapThreads, 0, stream()};
        if (depthwise)
            simt::launch(launch, wide ? depthwise_maps<4> : depthwise_maps<1>, windows);
        else
            simt::launch(launch, wide ? pool_maps<4> : pool_maps<1>, windows);
    }

    const CudaNetwork& network_;
    Session& session_;
    size_t pictures_;
    std::vector<float*> slots_;
};

void CudaNetwork::forward(MatrixView<const float> pictures, MatrixView<float> out,
                          int threads) const {
    const DeviceScope scope(ordinal_);
    SessionPool::Lease session = sessions_.lease();
    size_t most = batch_;
    for (size_t first = 0; first < pictures.rows;) {
        const size_t count = std::min(most, pictures.rows - first);
        try {
            Call call(*this, *session, count);
            call.run(pictures.slice(first, count), out.slice(first, count), threads);
        } catch (const Error& error) {
            // Other calls' maps may be in the way: with fewer pictures, if that is possible.
            if (error.code() != StatusCode::OutOfMemory || count == 1) throw;
            simt::synchronize(session->stream.get());
            session->scratch.clear();
            session->scratch.start();
            most = (count + 1) / 2;
            continue;
        }
        session->scratch.start();
        first += count;
    }
    session.done();
}

}  // namespace nearcell::gpu
