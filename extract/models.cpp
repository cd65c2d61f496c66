#include <nearcell/extract/models.h>

#include <span>

#include <nearcell/core/error.h>

namespace nearcell {
namespace {

// A block of layers, `repeats` times; only the first has the stride.
enum class BlockKind {
    Conv,        // one convolution
    MaxPool,     //
    Basic,       // ResNet: two of 3 x 3 and the sum with the input (He et al. 2015, section 3.3)
    Bottleneck,  // ResNet: 1 x 1, 3 x 3 and 1 x 1 of four times the channels (section 4.1)
    Inverted,    // EfficientNet: 1 x 1 to `expand` times the input's channels, depthwise, 1 x 1
                 // (Sandler et al. 2018, MobileNetV2, section 3.3)
    GlobalMean,  //
    Linear       //
};

struct Block {
    BlockKind kind;
    size_t channels = 0, repeats = 1, kernel = 3, stride = 1, expand = 1;
};

using enum BlockKind;

// Tan and Le 2019, EfficientNet, table 1; Lite: no squeeze and excite, ReLU6, fixed stem and head.
constexpr Block kEfficientNetLite0[] = {{Conv, 32, 1, 3, 2},         {Inverted, 16, 1, 3, 1, 1},
                                        {Inverted, 24, 2, 3, 2, 6},  {Inverted, 40, 2, 5, 2, 6},
                                        {Inverted, 80, 3, 3, 2, 6},  {Inverted, 112, 3, 5, 1, 6},
                                        {Inverted, 192, 4, 5, 2, 6}, {Inverted, 320, 1, 3, 1, 6},
                                        {Conv, 1280, 1, 1, 1},       {GlobalMean}};

// He et al. 2015, table 1.
constexpr Block kResNet18[] = {{Conv, 64, 1, 7, 2},   {MaxPool, 0, 1, 3, 2}, {Basic, 64, 2},
                               {Basic, 128, 2, 3, 2}, {Basic, 256, 2, 3, 2}, {Basic, 512, 2, 3, 2},
                               {GlobalMean},          {Linear, 1000}};
constexpr Block kResNet34[] = {{Conv, 64, 1, 7, 2},   {MaxPool, 0, 1, 3, 2}, {Basic, 64, 3},
                               {Basic, 128, 4, 3, 2}, {Basic, 256, 6, 3, 2}, {Basic, 512, 3, 3, 2},
                               {GlobalMean},          {Linear, 1000}};
constexpr Block kResNet50[] = {{Conv, 64, 1, 7, 2},
                               {MaxPool, 0, 1, 3, 2},
                               {Bottleneck, 64, 3},
                               {Bottleneck, 128, 4, 3, 2},
                               {Bottleneck, 256, 6, 3, 2},
                               {Bottleneck, 512, 3, 3, 2},
                               {GlobalMean},
                               {Linear, 1000}};

// Simonyan and Zisserman 2014, table 1, configuration D.
constexpr Block kVgg16[] = {{Conv, 64, 2},         {MaxPool, 0, 1, 2, 2}, {Conv, 128, 2},
                            {MaxPool, 0, 1, 2, 2}, {Conv, 256, 3},        {MaxPool, 0, 1, 2, 2},
                            {Conv, 512, 3},        {MaxPool, 0, 1, 2, 2}, {Conv, 512, 3},
                            {MaxPool, 0, 1, 2, 2}, {Linear, 4096},        {Linear, 4096},
                            {Linear, 1000}};

struct Description {
    std::string_view name, preset;
    std::span<const Block> blocks;
    std::vector<Layer> (*expand)(std::span<const Block> blocks);
    std::string_view tap;
};

Layer convolution(std::string name, size_t channels, size_t kernel, size_t stride,
                  Activation activation) {
    Layer layer;
    layer.name = std::move(name);
    layer.channels = channels;
    layer.kernel = kernel;
    layer.stride = stride;
    layer.pad = kernel / 2;
    layer.activation = activation;
    return layer;
}

Layer of_kind(LayerKind kind, std::string name) {
    Layer layer;
    layer.kind = kind;
    layer.name = std::move(name);
    return layer;
}

Layer max_pool(std::string name, const Block& block) {
    Layer layer = of_kind(LayerKind::MaxPool, std::move(name));
    layer.kernel = block.kernel;
    layer.stride = block.stride;
    layer.pad = (block.kernel - 1) / 2;
    return layer;
}

// The weights' names are those of ../shared/data/effnet-lite0, whose batch norms are folded in.
std::vector<Layer> efficientnet_layers(std::span<const Block> blocks) {
    std::vector<Layer> layers;
    size_t number = 0, channels = 0;
    const auto add = [&](Layer layer) {
        layer.padding = Padding::Same;
        layers.push_back(std::move(layer));
    };
    for (const Block& block : blocks) {
        if (block.kind == GlobalMean) {
            layers.push_back(of_kind(LayerKind::GlobalMean, "pool"));
            continue;
        }
        if (block.kind == Conv) {
            add(convolution(layers.empty() ? "stem" : "head", block.channels, block.kernel,
                            block.stride, Activation::Relu6));
            channels = block.channels;
            continue;
        }
        for (size_t i = 0; i < block.repeats; ++i, ++number) {
            const std::string prefix =
                (number < 10 ? "blocks.0" : "blocks.") + std::to_string(number) + ".";
            const std::string from = layers.back().name;
            const size_t stride = i == 0 ? block.stride : 1, wide = channels * block.expand;
            if (block.expand != 1)
                add(convolution(prefix + "expand", wide, 1, 1, Activation::Relu6));
            Layer depthwise =
                convolution(prefix + "depthwise", wide, block.kernel, stride, Activation::Relu6);
            depthwise.groups = wide;
            add(depthwise);
            Layer project = convolution(prefix + "project", block.channels, 1, 1, Activation::None);
            if (stride == 1 && channels == block.channels) project.added = from;
            add(project);
            channels = block.channels;
        }
    }
    return layers;
}

std::vector<Layer> resnet_layers(std::span<const Block> blocks) {
    std::vector<Layer> layers;
    size_t stage = 0, channels = 0;
    const auto add = [&](Layer layer, const std::string& norm) {
        layer.batch_norm = norm;
        layers.push_back(std::move(layer));
    };
    for (const Block& block : blocks) {
        switch (block.kind) {
            case Conv:
                add(convolution("conv1", block.channels, block.kernel, block.stride,
                                Activation::Relu),
                    "bn1");
                channels = block.channels;
                continue;
            case MaxPool: layers.push_back(max_pool("maxpool", block)); continue;
            case GlobalMean: layers.push_back(of_kind(LayerKind::GlobalMean, "avgpool")); continue;
            case Linear: {
                Layer layer = of_kind(LayerKind::Linear, "fc");
                layer.channels = block.channels;
                layers.push_back(layer);
                continue;
            }
            default: break;
        }
        ++stage;
        const bool bottleneck = block.kind == Bottleneck;
        const size_t wide = block.channels * (bottleneck ? 4 : 1);
        for (size_t i = 0; i < block.repeats; ++i) {
            const std::string prefix =
                "layer" + std::to_string(stage) + "." + std::to_string(i) + ".";
            const std::string from = layers.back().name;
            const size_t stride = i == 0 ? block.stride : 1;
            std::string shortcut = from;
            if (stride != 1 || channels != wide) {
                shortcut = prefix + "downsample.0";
                Layer layer = convolution(shortcut, wide, 1, stride, Activation::None);
                layer.input = from;
                add(layer, prefix + "downsample.1");
            }
            // Of a bottleneck torchvision strides the 3 x 3, not the first 1 x 1.
            Layer first = convolution(prefix + "conv1", block.channels, bottleneck ? 1 : 3,
                                      bottleneck ? 1 : stride, Activation::Relu);
            first.input = from;
            add(first, prefix + "bn1");
            Layer second = convolution(prefix + "conv2", block.channels, 3, bottleneck ? stride : 1,
                                       Activation::Relu);
            if (!bottleneck) second.added = shortcut;
            add(second, prefix + "bn2");
            if (bottleneck) {
                Layer third = convolution(prefix + "conv3", wide, 1, 1, Activation::Relu);
                third.added = shortcut;
                add(third, prefix + "bn3");
            }
            channels = wide;
        }
    }
    return layers;
}

// torchvision numbers the modules of "features", activations among them, and of "classifier",
// dropouts among them.
std::vector<Layer> vgg_layers(std::span<const Block> blocks) {
    std::vector<Layer> layers;
    size_t module = 0, linear = 0;
    for (const Block& block : blocks) {
        if (block.kind == MaxPool) {
            Layer pool = max_pool("features." + std::to_string(module++), block);
            layers.push_back(pool);
        } else if (block.kind == Conv) {
            for (size_t i = 0; i < block.repeats; ++i, module += 2) {
                layers.push_back(convolution("features." + std::to_string(module), block.channels,
                                             block.kernel, block.stride, Activation::Relu));
            }
        } else {
            Layer layer = of_kind(LayerKind::Linear, "classifier." + std::to_string(3 * linear++));
            layer.channels = block.channels;
            if (block.channels == 4096) layer.activation = Activation::Relu;
            layers.push_back(layer);
        }
    }
    return layers;
}

const Description kModels[] = {
    {"efficientnet-lite0", "efficientnet-lite0", kEfficientNetLite0, efficientnet_layers, "pool"},
    {"resnet18", "resnet", kResNet18, resnet_layers, "avgpool"},
    {"resnet34", "resnet", kResNet34, resnet_layers, "avgpool"},
    {"resnet50", "resnet", kResNet50, resnet_layers, "avgpool"},
    {"vgg16", "vgg16", kVgg16, vgg_layers, "classifier.3"},
};

}  // namespace

std::vector<std::string> model_names() {
    std::vector<std::string> names;
    for (const Description& description : kModels)
        names.emplace_back(description.name);
    return names;
}

Model model_by_name(std::string_view name) {
    for (const Description& description : kModels) {
        if (description.name != name) continue;
        return {std::string(name), description.expand(description.blocks),
                preprocess_preset(description.preset), std::string(description.tap)};
    }
    std::string known;
    for (const std::string& one : model_names())
        known += (known.empty() ? "" : ", ") + one;
    throw_error(StatusCode::InvalidArgument, "model = \"", name, "\" is not known: use one of ",
                known);
}

}  // namespace nearcell
