// Networks moved to the emulated GPU against the same networks on the CPU: every kind of layer, odd
// shapes, groups, paddings and numbers of pictures, blocks of known models, taps, little memory.
#include <nearcell/gpu/cuda_device.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>
#include <nearcell/cpu/isa_select.h>
#include <nearcell/extract/network.h>
#include <nearcell/gpu/simt/emulator.h>

#include "extract/network_case.h"
#include "storage/scratch_dir.h"

namespace nearcell::gpu {
namespace {

// float32 as the CPU's sums; three products of tf32.
constexpr int kPlainArchitecture = 86, kTensorArchitecture = 90;

// Whether the CPU's kernels have fused multiply-adds, as a GPU has.
bool cpu_fuses() {
    const char* const isa = std::getenv("NEARCELL_ISA");
    return std::string(select_kernels(isa == nullptr ? "" : isa).isa) != "base";
}

class DeviceNetworkTest : public testing::Test {
   protected:
    DeviceNetworkTest() {
        simt::reset();
        set_device_source(&cuda_devices());
    }
    ~DeviceNetworkTest() override {
        set_device_source(nullptr);
        simt::reset();
    }

    Network network(std::vector<Layer> layers, MapShape input, std::string tap = {}) {
        const PlainNetwork plain(std::move(layers), input, random_);
        const std::string path = dir_.file("w.safetensors");
        write_safetensors(path, plain.tensors());
        if (tap.empty()) tap = plain.layers().back().name;
        return Network(plain.layers(), Weights::open(path), input, tap);
    }
    std::vector<float> pictures(const Network& network, size_t count) {
        std::vector<float> values(count * network.input_shape().values());
        for (float& value : values)
            value = static_cast<float>(random_.normal());
        return values;
    }
    static std::vector<float> features(const Network& network, const std::vector<float>& pictures) {
        const size_t values = network.input_shape().values(), dim = network.output_shape().values(),
                     count = pictures.size() / values;
        std::vector<float> out(count * dim);
        network.forward({pictures.data(), count, values}, {out.data(), count, dim}, 1);
        return out;
    }
    // Of the largest feature, how far those of the device are from the CPU's.
    double gap(Network& network, size_t count, const DeviceOptions& options = {}) {
        const std::vector<float> some = pictures(network, count);
        network.to("cpu");
        const std::vector<float> wanted = features(network, some);
        network.to("cuda:0", options);
        const std::vector<float> found = features(network, some);
        double most = 1e-6, worst = 0;
        for (size_t i = 0; i < wanted.size(); ++i) {
            const auto value = static_cast<double>(wanted[i]);
            most = std::max(most, std::fabs(value));
            const double off = std::fabs(static_cast<double>(found[i]) - value);
            worst = std::isnan(off) ? 1 : std::max(worst, off);
        }
        return worst / most;
    }

    ScratchDir dir_;
    Random random_{17};
};

Layer layer_of(LayerKind kind, const std::string& name, size_t channels = 0, size_t kernel = 1,
               size_t stride = 1) {
    Layer layer;
    layer.kind = kind;
    layer.name = name;
    layer.channels = channels;
    layer.kernel = kernel;
    layer.stride = stride;
    layer.pad = kernel / 2;
    return layer;
}

struct WindowCase {
    LayerKind kind;
    size_t in, channels, groups, kernel, stride;
    Padding padding;
    Activation activation;
};
constexpr WindowCase kWindows[] = {
    {LayerKind::Convolution, 3, 10, 1, 3, 2, Padding::Same, Activation::Relu6},
    {LayerKind::Convolution, 8, 37, 1, 1, 1, Padding::Explicit, Activation::None},
    {LayerKind::Convolution, 20, 68, 1, 3, 1, Padding::Explicit, Activation::Relu},
    {LayerKind::Convolution, 5, 33, 1, 5, 3, Padding::Explicit, Activation::Silu},
    {LayerKind::Convolution, 12, 18, 3, 3, 1, Padding::Same, Activation::None},
    {LayerKind::Convolution, 8, 24, 2, 2, 1, Padding::Same, Activation::Relu},
    {LayerKind::Convolution, 6, 6, 2, 3, 2, Padding::Explicit, Activation::Relu6},
    {LayerKind::Convolution, 12, 12, 12, 3, 1, Padding::Same, Activation::Relu6},
    {LayerKind::Convolution, 7, 7, 7, 5, 2, Padding::Same, Activation::Silu},
    {LayerKind::Convolution, 9, 9, 9, 2, 3, Padding::Explicit, Activation::None},
    {LayerKind::Convolution, 1, 5, 1, 4, 2, Padding::Explicit, Activation::Relu},
    {LayerKind::MaxPool, 8, 0, 1, 3, 2, Padding::Explicit, Activation::None},
    {LayerKind::MaxPool, 5, 0, 1, 2, 2, Padding::Same, Activation::Silu},
    {LayerKind::MeanPool, 12, 0, 1, 3, 1, Padding::Same, Activation::None},
    {LayerKind::MeanPool, 3, 0, 1, 4, 3, Padding::Explicit, Activation::Relu},
};

TEST_F(DeviceNetworkTest, WindowsOfEveryKind) {
    size_t turn = 0;
    for (const WindowCase& window : kWindows) {
        for (const int architecture : {kPlainArchitecture, kTensorArchitecture}) {
            SCOPED_TRACE(testing::Message()
                         << "case " << &window - kWindows << ", sm_" << architecture);
            simt::reset();
            simt::config().architecture = architecture;
            Layer layer =
                layer_of(window.kind, "one", window.channels, window.kernel, window.stride);
            layer.groups = window.groups;
            layer.padding = window.padding;
            layer.activation = window.activation;
            if (window.kind == LayerKind::Convolution && turn % 2 == 0) layer.batch_norm = "norm";
            Network one = network({layer}, {5 + turn % 3, 4 + turn % 5, window.in});
            const bool pools = window.kind != LayerKind::Convolution;
            const bool depthwise = window.groups == window.in && window.in > 1;
            const bool exact =
                pools || (cpu_fuses() && (depthwise || architecture == kPlainArchitecture));
            const double bound = window.activation == Activation::Silu ? 1e-6 : exact ? 0 : 4e-6;
            EXPECT_LE(gap(one, 1 + turn % 5), bound);
            ++turn;
        }
    }
}

TEST_F(DeviceNetworkTest, LayersOfWholeMaps) {
    for (const int architecture : {kPlainArchitecture, kTensorArchitecture}) {
        SCOPED_TRACE(architecture);
        simt::reset();
        simt::config().architecture = architecture;
        Network linear = network(
            {layer_of(LayerKind::MaxPool, "pool", 0, 3, 2), layer_of(LayerKind::Linear, "a", 21),
             layer_of(LayerKind::Linear, "b", 9), layer_of(LayerKind::Softmax, "c")},
            {6, 5, 4});
        EXPECT_LE(gap(linear, 3), 4e-6);
        Network means = network({layer_of(LayerKind::GlobalMean, "mean")}, {6, 5, 4});
        EXPECT_EQ(gap(means, 2), 0);
        Network softmax = network({layer_of(LayerKind::Softmax, "softmax")}, {3, 2, 70});
        EXPECT_LE(gap(softmax, 2), 1e-6);
    }
}

// ResNet's basic and bottleneck blocks, and their sums; He et al. 2015.
std::vector<Layer> residual_blocks() {
    std::vector<Layer> layers;
    const auto add = [&](const std::string& name, size_t channels, size_t kernel, size_t stride,
                         const std::string& input, const std::string& added, bool relu) {
        Layer layer = layer_of(LayerKind::Convolution, name, channels, kernel, stride);
        layer.input = input;
        layer.added = added;
        if (relu) layer.activation = Activation::Relu;
        layer.batch_norm = name + "_norm";
        layers.push_back(layer);
    };
    add("stem", 8, 7, 2, kNetworkInput, "", true);
    layers.push_back(layer_of(LayerKind::MaxPool, "pool", 0, 3, 2));
    add("a1", 8, 3, 1, "pool", "", true);
    add("a2", 8, 3, 1, "a1", "pool", true);
    add("shortcut", 16, 1, 2, "a2", "", false);
    add("b1", 4, 1, 1, "a2", "", true);
    add("b2", 4, 3, 2, "b1", "", true);
    add("b3", 16, 1, 1, "b2", "shortcut", true);
    layers.push_back(layer_of(LayerKind::Add, "sum"));
    layers.back().input = "b3";
    layers.back().added = "shortcut";
    layers.back().activation = Activation::Relu6;
    layers.push_back(layer_of(LayerKind::GlobalMean, "mean"));
    layers.push_back(layer_of(LayerKind::Linear, "fc", 10));
    return layers;
}

TEST_F(DeviceNetworkTest, ResidualBlocksAndTheirTaps) {
    for (const int architecture : {kPlainArchitecture, kTensorArchitecture}) {
        for (const char* tap : {"fc", "mean", "b3"}) {
            SCOPED_TRACE(testing::Message() << "sm_" << architecture << " " << tap);
            simt::reset();
            simt::config().architecture = architecture;
            Network blocks = network(residual_blocks(), {19, 22, 3}, tap);
            EXPECT_LE(gap(blocks, 2), 1e-5);
        }
    }
}

// EfficientNet's; Sandler et al. 2018, section 3.3.
TEST_F(DeviceNetworkTest, InvertedBlocks) {
    std::vector<Layer> layers;
    const auto add = [&](const std::string& name, size_t channels, size_t kernel, size_t stride,
                         size_t groups, Activation activation, const std::string& added = {}) {
        Layer layer = layer_of(LayerKind::Convolution, name, channels, kernel, stride);
        layer.padding = Padding::Same;
        layer.groups = groups;
        layer.activation = activation;
        layer.added = added;
        layers.push_back(layer);
    };
    add("stem", 8, 3, 2, 1, Activation::Relu6);
    add("expand", 24, 1, 1, 1, Activation::Relu6);
    add("depthwise", 24, 5, 1, 24, Activation::Relu6);
    add("project", 8, 1, 1, 1, Activation::None, "stem");
    add("expand2", 36, 1, 1, 1, Activation::Silu);
    add("depthwise2", 36, 3, 2, 36, Activation::Silu);
    add("project2", 12, 1, 1, 1, Activation::None);
    layers.push_back(layer_of(LayerKind::GlobalMean, "pool"));
    for (const int architecture : {kPlainArchitecture, kTensorArchitecture}) {
        SCOPED_TRACE(architecture);
        simt::reset();
        simt::config().architecture = architecture;
        Network blocks = network(layers, {17, 14, 3});
        EXPECT_LE(gap(blocks, 3), 1e-5);
    }
}

std::vector<Layer> small_network() {
    std::vector<Layer> layers = {layer_of(LayerKind::Convolution, "a", 8, 3, 2),
                                 layer_of(LayerKind::Convolution, "b", 8, 3, 1)};
    layers.back().added = "a";
    layers.back().activation = Activation::Relu;
    return layers;
}

TEST_F(DeviceNetworkTest, FeaturesDoNotDependOnTheOtherPictures) {
    Network net = network(small_network(), {9, 7, 3});
    const std::vector<float> some = pictures(net, 5);
    net.to("cuda:0");
    const std::vector<float> together = features(net, some);
    const size_t values = net.input_shape().values(), dim = net.output_shape().values();
    for (size_t i = 0; i < 5; i += 2) {
        const std::vector<float> one(some.begin() + static_cast<ptrdiff_t>(i * values),
                                     some.begin() + static_cast<ptrdiff_t>((i + 1) * values));
        const std::vector<float> feature = features(net, one);
        EXPECT_TRUE(std::equal(feature.begin(), feature.end(),
                               together.begin() + static_cast<ptrdiff_t>(i * dim)))
            << i;
    }
}

TEST_F(DeviceNetworkTest, LittleMemoryTakesSmallerBatches) {
    Network net = network(small_network(), {9, 7, 3});
    DeviceOptions options;
    options.scratch_bytes = 9000;
    EXPECT_LE(gap(net, 5, options), 1e-5);
    EXPECT_LT(net.batch_pictures(), 4u);
    const size_t before = net.batch_pictures();
    // Less than a batch of what scratch_bytes allows.
    options.scratch_bytes = size_t{1} << 20;
    options.memory_bytes = 20000;
    EXPECT_LE(gap(net, 5, options), 1e-5);
    EXPECT_GT(net.batch_pictures(), before);
    options.memory_bytes = 1000;
    try {
        net.to("cuda:0", options);
        ADD_FAILURE() << "1000 bytes were enough";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::OutOfMemory);
        EXPECT_NE(std::string(error.what()).find("this network may take"), std::string::npos)
            << error.what();
    }
    EXPECT_EQ(net.device(), "cuda:0");  // where it was
    EXPECT_EQ(net.batch_pictures(), 256u);
}

TEST_F(DeviceNetworkTest, CallsOfSeveralThreads) {
    simt::config().deferred_streams = true;
    Network net = network(small_network(), {9, 7, 3});
    net.to("cuda:0");
    const std::vector<float> first = pictures(net, 2), second = pictures(net, 3);
    const std::vector<float> wanted_first = features(net, first),
                             wanted_second = features(net, second);
    std::vector<float> found_first, found_second;
    std::thread other([&] { found_first = features(net, first); });
    found_second = features(net, second);
    other.join();
    EXPECT_EQ(found_first, wanted_first);
    EXPECT_EQ(found_second, wanted_second);
}

class TwoDevices : public DeviceSource {
   public:
    std::vector<const Device*> list() const override { return {&first_, &second_}; }
    std::string why() const override { return ""; }

   private:
    CudaDevice first_{0}, second_{0};
};

TEST_F(DeviceNetworkTest, SeveralDevicesShareThePictures) {
    Network net = network(small_network(), {9, 7, 3});
    const std::vector<float> some = pictures(net, 5);
    net.to("cuda:0");
    const std::vector<float> wanted = features(net, some);
    const TwoDevices devices;
    set_device_source(&devices);
    net.to("cuda:all");
    EXPECT_EQ(net.batch_pictures(), 512u);
    EXPECT_EQ(features(net, some), wanted);
    net.to("cpu");
}

TEST_F(DeviceNetworkTest, ComesBackToTheCpu) {
    Network net = network(small_network(), {9, 7, 3});
    const std::vector<float> some = pictures(net, 2), here = features(net, some);
    EXPECT_EQ(net.device(), "cpu");
    net.to("cuda");
    EXPECT_EQ(net.device(), "cuda:0");
    features(net, some);
    net.to("cpu");
    EXPECT_EQ(net.device(), "cpu");
    EXPECT_EQ(features(net, some), here);
    EXPECT_THROW(net.to("cuda:7"), Error);
    EXPECT_EQ(net.device(), "cpu");
}

}  // namespace
}  // namespace nearcell::gpu
