// Networks against the plainest forward pass in double precision: every kind of layer, of random
// sizes, one by one and in chains; and what a list of layers may not be.
#include <gtest/gtest.h>

#include <nearcell/core/error.h>
#include <nearcell/extract/models.h>

#include "extract/network_case.h"
#include "extract/picture_case.h"
#include "storage/scratch_dir.h"

namespace nearcell {
namespace {

class NetworkTest : public testing::Test {
   protected:
    Network network(const PlainNetwork& plain, MapShape input) const {
        write_safetensors(path_, plain.tensors());
        return Network(plain.layers(), Weights::open(path_), input, plain.layers().back().name);
    }

    // Of the largest value, how far the network is from the plain one.
    double error(const std::vector<Layer>& layers, MapShape input, Random& random) const {
        const PlainNetwork plain(layers, input, random);
        const Network fast = network(plain, input);
        const size_t rows = 3;
        std::vector<float> pictures, out(rows * fast.output_shape().values());
        for (size_t i = 0; i < rows * input.values(); ++i)
            pictures.push_back(static_cast<float>(random.normal()));
        fast.forward({pictures.data(), rows, input.values()},
                     {out.data(), rows, fast.output_shape().values()}, 2);
        double worst = 0;
        for (size_t row = 0; row < rows; ++row) {
            const float* const picture = pictures.data() + row * input.values();
            const PlainMap expected =
                plain.forward(std::vector<double>(picture, picture + input.values()));
            EXPECT_EQ(expected.shape, fast.output_shape());
            double most = 1e-6, gap = 0;
            for (size_t i = 0; i < expected.values.size(); ++i) {
                most = std::max(most, std::fabs(expected.values[i]));
                const double got = static_cast<double>(out[row * expected.values.size() + i]);
                gap = std::max(gap, std::fabs(got - expected.values[i]));
            }
            worst = std::max(worst, gap / most);
        }
        return worst;
    }

    ScratchDir dir_;
    std::string path_ = dir_.file("w.safetensors");
};

Layer layer_of(LayerKind kind, const std::string& name, size_t channels = 0) {
    Layer layer;
    layer.kind = kind;
    layer.name = name;
    layer.channels = channels;
    return layer;
}

// A window of any kind, padding, stride and activation.
Layer random_layer(const std::string& name, size_t in_channels, Random& random) {
    constexpr LayerKind kKinds[] = {LayerKind::Convolution, LayerKind::Convolution,
                                    LayerKind::Convolution, LayerKind::MaxPool,
                                    LayerKind::MeanPool};
    constexpr Activation kActivations[] = {Activation::None, Activation::Relu, Activation::Relu6,
                                           Activation::Silu};
    Layer layer = layer_of(kKinds[random.below(5)], name, 1 + random.below(40));
    layer.kernel = 1 + random.below(5);
    layer.stride = 1 + random.below(3);
    layer.padding = random.below(2) == 0 ? Padding::Same : Padding::Explicit;
    layer.pad = random.below(layer.kernel);
    layer.activation = kActivations[random.below(4)];
    if (layer.kind != LayerKind::Convolution) return layer;
    const size_t form = random.below(3);
    if (form == 1) layer.groups = layer.channels = in_channels;  // depthwise
    if (form == 2) {
        layer.groups = in_channels % 3 == 0 ? 3 : in_channels % 2 == 0 ? 2 : 1;
        layer.channels = layer.groups * (1 + random.below(20));
    }
    if (random.below(2) == 0) layer.batch_norm = name + "_norm";
    return layer;
}

TEST_F(NetworkTest, EveryKindOfLayerIsThatOfDoublePrecision) {
    Random random(3);
    for (int turn = 0; turn < 150; ++turn) {
        const MapShape input{5 + random.below(14), 5 + random.below(14), 1 + random.below(36)};
        const Layer layer = random_layer("one", input.channels, random);
        EXPECT_LE(error({layer}, input, random), 2e-6)
            << "kind " << static_cast<int>(layer.kind) << " kernel " << layer.kernel << " stride "
            << layer.stride << " pad " << layer.pad << " same " << (layer.padding == Padding::Same)
            << " groups " << layer.groups << " channels " << input.channels << " to "
            << layer.channels;
    }
    for (const LayerKind kind : {LayerKind::Linear, LayerKind::GlobalMean, LayerKind::Softmax})
        EXPECT_LE(error({layer_of(kind, "one", 21)}, {6, 5, 19}, random), 2e-6);
}

TEST_F(NetworkTest, ChainsWithSumsReuseMemoryAndBorders) {
    Random random(5);
    for (int turn = 0; turn < 20; ++turn) {
        const MapShape input{12, 9, 3};
        std::vector<Layer> layers;
        const auto convolution = [&](const std::string& name, size_t kernel) {
            Layer layer = layer_of(LayerKind::Convolution, name, 16);
            layer.kernel = kernel;
            layer.pad = kernel / 2;
            layer.activation = Activation::Relu;
            return layer;
        };
        layers.push_back(convolution("a", 3));
        layers.push_back(convolution("b", 5));
        layers.push_back(convolution("c", 1));
        layers.back().added = "a";
        layers.push_back(convolution("d", 3));
        layers.back().input = "b";
        layers.push_back(layer_of(LayerKind::Add, "e"));
        layers.back().input = "c";
        layers.back().added = "d";
        layers.push_back(convolution("f", 7));
        layers.push_back(layer_of(LayerKind::GlobalMean, "g"));
        layers.push_back(layer_of(LayerKind::Linear, "h", 10));
        EXPECT_LE(error(layers, input, random), 5e-6);
    }
}

TEST_F(NetworkTest, TheSameBitsForAnyThreads) {
    Random random(7);
    const MapShape input{14, 14, 5};
    Layer layer = layer_of(LayerKind::Convolution, "a", 24);
    layer.kernel = 3;
    const PlainNetwork plain({layer}, input, random);
    const Network fast = network(plain, input);
    std::vector<float> pictures;
    for (size_t i = 0; i < 9 * input.values(); ++i)
        pictures.push_back(static_cast<float>(random.normal()));
    const size_t dim = fast.output_shape().values();
    std::vector<float> one(9 * dim), three(9 * dim);
    fast.forward({pictures.data(), 9, input.values()}, {one.data(), 9, dim}, 1);
    fast.forward({pictures.data(), 9, input.values()}, {three.data(), 9, dim}, 3);
    EXPECT_EQ(one, three);
}

TEST_F(NetworkTest, LayersBehindTheTapNeedNoWeights) {
    Random random(9);
    const MapShape input{8, 8, 3};
    const PlainNetwork plain({layer_of(LayerKind::Convolution, "a", 4)}, input, random);
    write_safetensors(path_, plain.tensors());
    std::vector<Layer> layers = plain.layers();
    layers.push_back(layer_of(LayerKind::Linear, "b", 10));
    const Network network(layers, Weights::open(path_), input, "a");
    EXPECT_EQ(network.layers(), std::vector<std::string>{"a"});
    EXPECT_EQ(error_of([&] { Network(layers, Weights::open(path_), input, "b"); }).code(),
              StatusCode::NotFound);
}

TEST_F(NetworkTest, RefusesWhatCannotBe) {
    Random random(11);
    const MapShape input{8, 8, 3};
    const PlainNetwork plain({layer_of(LayerKind::Convolution, "a", 4)}, input, random);
    write_safetensors(path_, plain.tensors());
    const auto refused = [&](const std::vector<Layer>& layers, const std::string& tap,
                             const std::string& words) {
        const Error error = error_of([&] { Network(layers, Weights::open(path_), input, tap); });
        EXPECT_EQ(error.code(), StatusCode::InvalidArgument) << error.what();
        EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    };
    Layer layer = layer_of(LayerKind::Convolution, "a", 4);
    refused({layer}, "z", "tap");
    refused({layer, layer}, "a", "another layer's");
    Layer other = layer;
    other.input = "nothing";
    refused({other}, "a", "no layer before it");
    other = layer;
    other.groups = 2;
    refused({other}, "a", "groups");
    other = layer;
    other.kernel = 20;
    refused({other}, "a", "less than the kernel");
    other = layer;
    other.stride = 0;
    refused({other}, "a", "stride");
    other = layer_of(LayerKind::Linear, "a", 4);
    other.groups = 0;
    refused({other}, "a", "groups");
    other = layer_of(LayerKind::MaxPool, "b");
    other.added = "a";
    refused({layer, other}, "b", "kind Add");
    other = layer;
    other.pad = 1;
    refused({other}, "a", "pad");
}

// As the papers count them, to some places: Tan and Le 2019 (Lite), He et al. 2015.
TEST_F(NetworkTest, KnownModelsCostWhatTheirPapersSay) {
    Random random(13);
    const std::map<std::string, std::pair<double, size_t>> expected = {
        {"efficientnet-lite0", {384e6, 1280}}, {"resnet18", {1.81e9, 512}}};
    for (const auto& [name, facts] : expected) {
        const Model model = model_by_name(name);
        const MapShape input{224, 224, 3};
        std::vector<Layer> layers = model.layers;
        while (layers.back().name != model.tap)
            layers.pop_back();
        const PlainNetwork plain(layers, input, random);
        const Network fast = network(plain, input);
        EXPECT_NEAR(static_cast<double>(fast.multiply_adds()), facts.first, 0.02 * facts.first)
            << name;
        EXPECT_EQ(fast.output_shape().values(), facts.second) << name;
    }
}

}  // namespace
}  // namespace nearcell
